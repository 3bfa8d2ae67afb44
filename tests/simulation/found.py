"""A history for each broken rule of broken.py. Written by `make simulate`."""

from __future__ import annotations

from tests.records import broadcast, verified
from tests.simulation.cluster import Cache, Fault, History, PodState, Scenario

HISTORIES: dict[str, Scenario] = {
    "AsksNoMoreWhenSettleIsOverThoughCallsAreInFlight": Scenario(
        entries=(
            (
                broadcast(settle_seconds=0.0),
                History(
                    pods=((PodState(at=-1.0, listening=True, listed=True, behaviour="hang"),),)
                ),
            ),
        )
    ),
    "AsksOnlyWhenNoCallIsInFlight": Scenario(
        entries=(
            (
                broadcast(concurrency=1, timeout_seconds=1.0),
                History(
                    pods=(
                        (PodState(at=-1.0, listening=True, listed=True, seconds=3.0),),
                        (PodState(at=-1.0, listening=True, listed=True, seconds=3.0),),
                    )
                ),
            ),
        )
    ),
    "AsksWheneverSomebodyIsDue": Scenario(
        entries=(
            (
                broadcast(),
                History(pods=((PodState(at=0.3, listening=False, listed=True),),)),
            ),
        )
    ),
    "BeginsAtOnce": Scenario(
        entries=(
            (
                broadcast(),
                History(pods=()),
            ),
        )
    ),
    "BeginsWhenTheOneBeforeIsFinished": Scenario(
        entries=(
            (
                broadcast(),
                History(pods=()),
            ),
            (
                broadcast(),
                History(pods=()),
            ),
        )
    ),
    "BelievesTheFirstEmptyAnswer": Scenario(
        entries=(
            (
                broadcast(),
                History(
                    pods=((PodState(at=-1.0, listening=True, listed=True),),),
                    faults=(Fault(begins_at=1.02, ends_at=2.02, error_type="lists_nobody"),),
                ),
            ),
        )
    ),
    "CallsEverybodyBesideTheCanaries": Scenario(
        entries=(
            (
                broadcast(canary=2),
                History(
                    pods=(
                        (PodState(at=-1.0, listening=True, listed=True),),
                        (PodState(at=1.0, listening=True, listed=True),),
                        (PodState(at=-1.0, listening=True, listed=True, behaviour="reset"),),
                    )
                ),
            ),
        )
    ),
    "CallsForWhatBeginsAfterAStop": Scenario(
        entries=(
            (
                broadcast(),
                History(pods=()),
            ),
        ),
        stop_at=0.0,
    ),
    "CallsFromAnAnswerThatWasAskedForTooEarly": Scenario(
        entries=(
            (
                broadcast(),
                History(pods=((PodState(at=-1.0, listening=True, listed=True, behaviour="503"),),)),
            ),
        )
    ),
    "CallsWhoAcknowledged": Scenario(
        entries=(
            (
                broadcast(),
                History(pods=((PodState(at=-1.0, listening=True, listed=True),),)),
            ),
        )
    ),
    "CallsWhoCameLastFirst": Scenario(
        entries=(
            (
                broadcast(concurrency=2, backoff_max_seconds=1.0),
                History(
                    pods=(
                        (
                            PodState(
                                at=-1.0, listening=True, listed=True, behaviour="503", seconds=3.0
                            ),
                        ),
                        (PodState(at=0.3, listening=True, listed=True),),
                        (
                            PodState(
                                at=-1.0, listening=True, listed=True, behaviour="503", seconds=0.5
                            ),
                        ),
                        (PodState(at=2.0, listening=True, listed=True, seconds=8.0),),
                    ),
                    caches=(Cache(holds_seconds=5),),
                ),
            ),
        )
    ),
    "CallsWhoIsGone": Scenario(
        entries=(
            (
                broadcast(discovery="endpointslices", concurrency=1),
                History(
                    pods=(
                        (
                            PodState(at=1.02, listening=True, listed=True),
                            PodState(at=2.5, listening=False, listed=True, exists=False),
                        ),
                        (PodState(at=-1.0, listening=True, listed=True, seconds=8.0),),
                    )
                ),
            ),
        )
    ),
    "CallsWhoLeftDns": Scenario(
        entries=(
            (
                broadcast(concurrency=1),
                History(
                    pods=(
                        (PodState(at=-1.0, listening=True, listed=True, seconds=20.0),),
                        (
                            PodState(at=-1.0, listening=True, listed=True),
                            PodState(at=5.0, listening=False, listed=False),
                        ),
                    ),
                    caches=(Cache(holds_seconds=30),),
                ),
            ),
        )
    ),
    "ConfirmsWhatIsNotProved": Scenario(
        entries=(
            (
                broadcast(
                    concurrency=2,
                    stagger_seconds=0.2,
                    backoff_initial_seconds=0.1,
                    verify=verified(),
                    timeout_seconds=1.0,
                ),
                History(
                    pods=(
                        (PodState(at=1.0, listening=True, listed=True, shows=False),),
                        (PodState(at=-1.0, listening=True, listed=True, seconds=8.0),),
                        (PodState(at=-1.0, listening=False, listed=True),),
                        (PodState(at=0.0, listening=False, listed=True),),
                        (PodState(at=-1.0, listening=True, listed=True, behaviour="reset"),),
                        (
                            PodState(at=1.5, listening=True, listed=True, seconds=3.0),
                            PodState(at=6.0, listening=False, listed=True),
                        ),
                    )
                ),
            ),
        ),
        stop_at=9.0,
    ),
    "CountsTheTimeThatAPollWaitsForAPlace": Scenario(
        entries=(
            (
                broadcast(concurrency=3, verify=verified()),
                History(
                    pods=(
                        (PodState(at=1.0, listening=True, listed=True, seconds=3.0),),
                        (PodState(at=1.02, listening=True, listed=True, shows=False),),
                        (PodState(at=-1.0, listening=True, listed=True, seconds=3.0),),
                        (PodState(at=-1.0, listening=True, listed=True, seconds=8.0),),
                    )
                ),
            ),
        )
    ),
    "DoesNotCountAttempts": Scenario(
        entries=(
            (
                broadcast(),
                History(pods=((PodState(at=2.0, listening=True, listed=True, behaviour="503"),),)),
            ),
        )
    ),
    "DoesNotMoveTheAnswerToBeNewerThan": Scenario(
        entries=(
            (
                broadcast(),
                History(
                    pods=((PodState(at=2.5, listening=True, listed=True),),),
                    caches=(Cache(holds_seconds=5),),
                ),
            ),
        )
    ),
    "DoubtsTheApi": Scenario(
        entries=(
            (
                broadcast(discovery="endpointslices"),
                History(
                    pods=(
                        (PodState(at=-1.0, listening=True, listed=True, behaviour="hang"),),
                        (
                            PodState(at=2.0, listening=False, listed=True),
                            PodState(at=56.401, listening=True, listed=False),
                        ),
                    )
                ),
            ),
        )
    ),
    "EverybodyWaitsForTheSlowest": Scenario(
        entries=(
            (
                broadcast(timeout_seconds=1.0),
                History(
                    pods=(
                        (PodState(at=0.3, listening=False, listed=True),),
                        (PodState(at=0.0, listening=True, listed=True, seconds=8.0),),
                    )
                ),
            ),
        )
    ),
    "ForgetsWhoBecameUnreadyBeforeItsFirstCall": Scenario(
        entries=(
            (
                broadcast(concurrency=3),
                History(
                    pods=(
                        (PodState(at=0.0, listening=True, listed=True, seconds=8.0),),
                        (PodState(at=-1.0, listening=True, listed=True, seconds=8.0),),
                        (PodState(at=-1.0, listening=True, listed=True, seconds=3.0),),
                        (
                            PodState(at=-1.0, listening=True, listed=True),
                            PodState(at=2.045, listening=True, listed=False),
                        ),
                    )
                ),
            ),
        )
    ),
    "GivesUpAfterTheFirstPoll": Scenario(
        entries=(
            (
                broadcast(verify=verified()),
                History(
                    pods=(
                        (
                            PodState(at=-1.0, listening=True, listed=True, seconds=3.0),
                            PodState(at=1.02, listening=True, listed=False, shows=False),
                        ),
                    )
                ),
            ),
        ),
        stands_still=(
            (
                1.0,
                5.0,
            ),
        ),
    ),
    "GoesOnThoughTooManyFailed": Scenario(
        entries=(
            (
                broadcast(attempts=3, backoff_initial_seconds=0.1, max_failed=1),
                History(
                    pods=(
                        (PodState(at=1.0, listening=True, listed=True),),
                        (PodState(at=-1.0, listening=False, listed=True),),
                        (PodState(at=-1.0, listening=True, listed=True, behaviour="503"),),
                    )
                ),
            ),
        )
    ),
    "IgnoresAStopSignal": Scenario(
        entries=(
            (
                broadcast(),
                History(pods=()),
            ),
        ),
        stop_at=9.0,
    ),
    "IgnoresTheConcurrency": Scenario(
        entries=(
            (
                broadcast(),
                History(pods=()),
            ),
            (
                broadcast(concurrency=3),
                History(
                    pods=(
                        (PodState(at=-1.0, listening=False, listed=True),),
                        (PodState(at=-1.0, listening=False, listed=True),),
                        (PodState(at=0.5, listening=True, listed=True),),
                        (PodState(at=-1.0, listening=False, listed=True),),
                    )
                ),
            ),
        )
    ),
    "IgnoresTheDeadline": Scenario(
        entries=(
            (
                broadcast(deadline_seconds=5.0),
                History(pods=()),
            ),
        )
    ),
    "IgnoresTheRoomOfTheRun": Scenario(
        entries=(
            (
                broadcast(concurrency=3),
                History(
                    pods=(
                        (PodState(at=2.5, listening=False, listed=True),),
                        (PodState(at=21.81, listening=True, listed=True),),
                        (
                            PodState(
                                at=0.0,
                                listening=True,
                                listed=True,
                                behaviour="503",
                                seconds=8.0,
                                retry_after_seconds=9.0,
                            ),
                        ),
                        (PodState(at=-1.0, listening=True, listed=True, seconds=8.0),),
                        (PodState(at=-1.0, listening=True, listed=True, seconds=3.0),),
                        (
                            PodState(at=-1.0, listening=True, listed=True),
                            PodState(at=2.045, listening=True, listed=False, behaviour="hang"),
                        ),
                    )
                ),
            ),
            (
                broadcast(concurrency=1),
                History(
                    pods=(
                        (
                            PodState(
                                at=2.5, listening=True, listed=True, behaviour="503", seconds=3.0
                            ),
                        ),
                    )
                ),
            ),
        )
    ),
    "IgnoresTheRunsDeadline": Scenario(
        entries=(
            (
                broadcast(),
                History(pods=()),
            ),
        ),
        deadline_at=3.0,
    ),
    "IgnoresTheStagger": Scenario(
        entries=(
            (
                broadcast(stagger_seconds=0.2),
                History(
                    pods=(
                        (PodState(at=0.3, listening=True, listed=True),),
                        (PodState(at=2.0, listening=True, listed=True),),
                    ),
                    caches=(Cache(holds_seconds=5),),
                ),
            ),
        )
    ),
    "IsConfirmedByAnAnswerThatWasAskedForDuringACall": Scenario(
        entries=(
            (
                broadcast(),
                History(pods=((PodState(at=2.5, listening=True, listed=True, seconds=3.0),),)),
            ),
        )
    ),
    "IsNeverSequential": Scenario(
        entries=(
            (
                broadcast(),
                History(pods=()),
            ),
            (
                broadcast(),
                History(pods=()),
            ),
        ),
        sequential=True,
    ),
    "LetsCallsOutlastTheDeadline": Scenario(
        entries=(
            (
                broadcast(deadline_seconds=5.0),
                History(pods=()),
            ),
        )
    ),
    "LetsCallsOutlastTheGracePeriod": Scenario(
        entries=(
            (
                broadcast(concurrency=1),
                History(
                    pods=(
                        (PodState(at=1.5, listening=True, listed=True, seconds=8.0),),
                        (PodState(at=-1.0, listening=True, listed=True, seconds=3.0),),
                        (PodState(at=-1.0, listening=True, listed=True, seconds=3.0),),
                    )
                ),
            ),
        ),
        stop_at=9.0,
    ),
    "LetsTheNextBeginWhenAPodThatIsCalledIsGone": Scenario(
        entries=(
            (
                broadcast(discovery="endpointslices"),
                History(
                    pods=(
                        (
                            PodState(at=-1.0, listening=True, listed=True, behaviour="hang"),
                            PodState(at=1.0, listening=True, listed=True, exists=False),
                        ),
                    )
                ),
            ),
            (
                broadcast(),
                History(pods=()),
            ),
        )
    ),
    "LetsTheOthersGoWhenTheFirstCanaryIsDone": Scenario(
        entries=(
            (
                broadcast(canary=2),
                History(
                    pods=(
                        (PodState(at=1.0, listening=True, listed=True),),
                        (PodState(at=1.0, listening=True, listed=True),),
                        (PodState(at=-1.0, listening=True, listed=True, seconds=8.0),),
                    )
                ),
            ),
        )
    ),
    "PollsAfterAPause": Scenario(
        entries=(
            (
                broadcast(verify=verified()),
                History(pods=((PodState(at=1.02, listening=True, listed=True),),)),
            ),
        )
    ),
    "PollsAtOnceAgain": Scenario(
        entries=(
            (
                broadcast(verify=verified()),
                History(pods=((PodState(at=1.02, listening=True, listed=True, shows=False),),)),
            ),
        )
    ),
    "PollsBeyondItsConcurrency": Scenario(
        entries=(
            (
                broadcast(),
                History(pods=()),
            ),
            (
                broadcast(concurrency=1, verify=verified()),
                History(
                    pods=(
                        (PodState(at=2.5, listening=True, listed=True),),
                        (PodState(at=2.5, listening=True, listed=True),),
                    )
                ),
            ),
        )
    ),
    "PollsWhoIsNotListed": Scenario(
        entries=(
            (
                broadcast(concurrency=1, verify=verified()),
                History(
                    pods=(
                        (
                            PodState(at=-1.0, listening=True, listed=True),
                            PodState(at=10.198, listening=True, listed=False),
                        ),
                        (PodState(at=-1.0, listening=True, listed=True, seconds=8.0),),
                        (PodState(at=1.0, listening=True, listed=True, seconds=8.0),),
                    )
                ),
            ),
        )
    ),
    "ReplacesNoCanary": Scenario(
        entries=(
            (
                broadcast(canary=1),
                History(
                    pods=(
                        (
                            PodState(at=0.0, listening=False, listed=True),
                            PodState(at=0.05, listening=True, listed=False),
                        ),
                        (PodState(at=0.0, listening=True, listed=True),),
                    )
                ),
            ),
        )
    ),
    "ServesWhoBeganFirst": Scenario(
        entries=(
            (
                broadcast(concurrency=1, backoff_initial_seconds=0.1, timeout_seconds=1.0),
                History(
                    pods=(
                        (PodState(at=-1.0, listening=True, listed=True, seconds=8.0),),
                        (PodState(at=1.0, listening=True, listed=True, seconds=8.0),),
                    )
                ),
            ),
            (
                broadcast(concurrency=1),
                History(pods=((PodState(at=-1.0, listening=True, listed=True, behaviour="503"),),)),
            ),
        )
    ),
    "TakesACachedCopyForANewerAnswer": Scenario(
        entries=(
            (
                broadcast(min_pods=0),
                History(pods=()),
            ),
        )
    ),
    "TakesACappedAnswerForAWholeOne": Scenario(
        entries=(
            (
                broadcast(),
                History(
                    pods=((PodState(at=-1.0, listening=True, listed=True),),),
                    caches=(Cache(lists_at_most=1),),
                ),
            ),
        )
    ),
    "TakesAStaleAnswerForANewerOne": Scenario(
        entries=(
            (
                broadcast(),
                History(pods=(), caches=(Cache(ttl_seconds=0),)),
            ),
        )
    ),
    "TakesTheProofOfASuccessor": Scenario(
        entries=(
            (
                broadcast(
                    discovery="endpointslices",
                    concurrency=1,
                    deadline_seconds=5.0,
                    verify=verified(),
                ),
                History(
                    pods=(
                        (
                            PodState(
                                at=-1.0, listening=True, listed=True, behaviour="503", seconds=0.5
                            ),
                        ),
                        (
                            PodState(at=1.0, listening=True, listed=True, behaviour="503"),
                            PodState(at=2.788, listening=True, listed=True),
                        ),
                    ),
                    dns_seconds=0.3,
                ),
            ),
        )
    ),
    "TakesTheRequestForItsProof": Scenario(
        entries=(
            (
                broadcast(verify=verified()),
                History(pods=((PodState(at=0.0, listening=True, listed=True),),)),
            ),
        )
    ),
    "TakesWhoIsNotReadyForGone": Scenario(
        entries=(
            (
                broadcast(discovery="endpointslices"),
                History(
                    pods=(
                        (PodState(at=-1.0, listening=False, listed=True),),
                        (
                            PodState(at=-1.0, listening=True, listed=True, behaviour="404"),
                            PodState(at=2.0, listening=True, listed=False),
                        ),
                    )
                ),
            ),
        )
    ),
    "WaitsForNobodyToComeBack": Scenario(
        entries=(
            (
                broadcast(),
                History(
                    pods=(
                        (
                            PodState(at=0.0, listening=False, listed=True),
                            PodState(at=1.0, listening=True, listed=False),
                        ),
                        (PodState(at=6.0, listening=True, listed=True),),
                    )
                ),
            ),
        )
    ),
    "WaitsForTheFirstAnswerForEver": Scenario(
        entries=(
            (
                broadcast(),
                History(pods=(), dns_seconds=3.0),
            ),
            (
                broadcast(),
                History(pods=()),
            ),
        )
    ),
    "forgets_a_failure_that_is_not_retried": Scenario(
        entries=(
            (
                broadcast(),
                History(
                    pods=(
                        (PodState(at=-1.0, listening=True, listed=True, behaviour="503"),),
                        (PodState(at=2.5, listening=True, listed=True),),
                    )
                ),
            ),
        )
    ),
    "forgets_who_is_owed_a_call_at_the_deadline": Scenario(
        entries=(
            (
                broadcast(deadline_seconds=5.0),
                History(
                    pods=((PodState(at=1.0, listening=True, listed=True, behaviour="reset"),),)
                ),
            ),
        )
    ),
    "ignores_min_pods_in_the_outcome": Scenario(
        entries=(
            (
                broadcast(),
                History(pods=()),
            ),
        )
    ),
    "is_complete_without_any_answer": Scenario(
        entries=(
            (
                broadcast(min_pods=0),
                History(pods=()),
            ),
        ),
        stop_at=0.0,
    ),
    "takes_a_pod_that_is_not_ready_for_gone": Scenario(
        entries=(
            (
                broadcast(discovery="endpointslices"),
                History(
                    pods=(
                        (
                            PodState(at=6.0, listening=False, listed=True),
                            PodState(at=24.572, listening=False, listed=False),
                        ),
                        (PodState(at=-1.0, listening=False, listed=True),),
                    ),
                    dns_seconds=0.3,
                ),
            ),
        )
    ),
    "takes_who_accepted_a_connection_for_gone": Scenario(
        entries=(
            (
                broadcast(settle_seconds=0.0),
                History(
                    pods=(
                        (
                            PodState(
                                at=5.0,
                                listening=True,
                                listed=True,
                                behaviour="503",
                                retry_after_seconds=9.0,
                            ),
                        ),
                        (
                            PodState(at=0.0, listening=True, listed=True, behaviour="reset"),
                            PodState(at=37.937, listening=False, listed=False),
                        ),
                    )
                ),
            ),
        )
    ),
    "takes_who_is_still_listed_for_gone": Scenario(
        entries=(
            (
                broadcast(),
                History(pods=((PodState(at=0.0, listening=False, listed=True),),)),
            ),
        )
    ),
    "takes_who_nobody_lists_for_gone": Scenario(
        entries=(
            (
                broadcast(),
                History(
                    pods=(
                        (
                            PodState(at=0.0, listening=False, listed=True),
                            PodState(at=1.0, listening=False, listed=False),
                        ),
                    )
                ),
            ),
        )
    ),
}
