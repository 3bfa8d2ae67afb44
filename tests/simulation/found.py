"""A history for each broken rule of broken.py. Written by `make simulate`."""

from __future__ import annotations

from tests.simulation.cluster import Cache, History, PodState, Scenario
from worker.model import Broadcast

HISTORIES: dict[str, Scenario] = {
    "BeginsAtOnce": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(pods=()),
            ),
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(pods=()),
            ),
        ),
        sequential=True,
    ),
    "BeginsWhenTheOneBeforeIsFinished": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(pods=()),
            ),
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(pods=()),
            ),
        )
    ),
    "BelievesTheFirstEmptyAnswer": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(
                    pods=(
                        (
                            PodState(at=-1.0, listening=False, listed=True),
                            PodState(at=8.192, listening=True, listed=False),
                        ),
                    )
                ),
            ),
        ),
        stop_at=15.156,
    ),
    "CallsForWhatBeginsAfterAStop": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(pods=()),
            ),
        ),
        stop_at=0.0,
    ),
    "CallsWhoAcknowledged": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(pods=((PodState(at=-1.0, listening=True, listed=True),),)),
            ),
        )
    ),
    "CallsWhoLeftDns": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(
                    pods=(
                        (
                            PodState(at=-1.0, listening=False, listed=True),
                            PodState(at=1.0, listening=True, listed=False),
                        ),
                    )
                ),
            ),
        )
    ),
    "DoesNotCountAttempts": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(pods=((PodState(at=1.5, listening=False, listed=True),),)),
            ),
        )
    ),
    "DoesNotMoveTheAnswerToBeNewerThan": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(pods=((PodState(at=5.063, listening=True, listed=True),),)),
            ),
        )
    ),
    "DoesNotWaitForWhoMayComeBack": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(
                    pods=(
                        (PodState(at=-1.0, listening=True, listed=True, behaviour="503"),),
                        (
                            PodState(at=0.5, listening=False, listed=True),
                            PodState(at=2.0, listening=False, listed=False),
                        ),
                    )
                ),
            ),
        )
    ),
    "ForgetsAFailureThatIsNotRetried": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear",
                    url="http://web:8080/clear",
                    https=False,
                    host="web",
                    port=8080,
                    min_pods=0,
                ),
                History(pods=((PodState(at=-1.0, listening=False, listed=True),),)),
            ),
        )
    ),
    "ForgetsWhoIsOwedACallAtTheDeadline": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(pods=((PodState(at=0.004, listening=False, listed=True),),)),
            ),
        ),
        deadline_at=3.0,
    ),
    "IgnoresAStopSignal": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(pods=()),
            ),
        ),
        stop_at=0.0,
    ),
    "IgnoresMinPodsInTheOutcome": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(pods=()),
            ),
        )
    ),
    "IgnoresTheConcurrency": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(pods=()),
            ),
            (
                Broadcast(
                    name="clear",
                    url="http://web:8080/clear",
                    https=False,
                    host="web",
                    port=8080,
                    concurrency=2,
                ),
                History(
                    pods=(
                        (PodState(at=-1.0, listening=True, listed=True),),
                        (PodState(at=1.0, listening=True, listed=True),),
                        (PodState(at=0.0, listening=True, listed=True),),
                    )
                ),
            ),
        ),
        sequential=True,
    ),
    "IgnoresTheDeadline": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear",
                    url="http://web:8080/clear",
                    https=False,
                    host="web",
                    port=8080,
                    deadline_seconds=5.0,
                ),
                History(pods=()),
            ),
        )
    ),
    "IgnoresTheRoomOfTheRun": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear",
                    url="http://web:8080/clear",
                    https=False,
                    host="web",
                    port=8080,
                    concurrency=1,
                    backoff_initial_seconds=0.1,
                ),
                History(
                    pods=(
                        (PodState(at=-1.0, listening=False, listed=True),),
                        (PodState(at=0.0, listening=False, listed=True),),
                    )
                ),
            ),
            (
                Broadcast(
                    name="clear",
                    url="http://web:8080/clear",
                    https=False,
                    host="web",
                    port=8080,
                    concurrency=2,
                    backoff_initial_seconds=0.1,
                ),
                History(
                    pods=(
                        (PodState(at=-1.0, listening=False, listed=True),),
                        (PodState(at=0.0, listening=False, listed=True),),
                    )
                ),
            ),
        )
    ),
    "IgnoresTheRunsDeadline": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(pods=()),
            ),
        ),
        deadline_at=3.0,
    ),
    "IgnoresTheStagger": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear",
                    url="http://web:8080/clear",
                    https=False,
                    host="web",
                    port=8080,
                    stagger_seconds=0.2,
                ),
                History(
                    pods=(
                        (PodState(at=-1.0, listening=False, listed=True),),
                        (PodState(at=-1.0, listening=True, listed=True),),
                    )
                ),
            ),
        )
    ),
    "IsCompleteWithoutAnyAnswer": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear",
                    url="http://web:8080/clear",
                    https=False,
                    host="web",
                    port=8080,
                    min_pods=0,
                ),
                History(pods=()),
            ),
        ),
        stop_at=0.0,
    ),
    "IsNeverSequential": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(pods=()),
            ),
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(pods=()),
            ),
        ),
        sequential=True,
    ),
    "LetsCallsOutlastTheDeadline": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear",
                    url="http://web:8080/clear",
                    https=False,
                    host="web",
                    port=8080,
                    deadline_seconds=5.0,
                ),
                History(
                    pods=((PodState(at=-1.0, listening=True, listed=True, behaviour="hang"),),)
                ),
            ),
        )
    ),
    "LetsCallsOutlastTheGracePeriod": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(pods=((PodState(at=0.001, listening=True, listed=True, seconds=3.0),),)),
            ),
        ),
        stop_at=1.923,
        stop_again_at=1.923,
    ),
    "TakesACachedCopyForANewerAnswer": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear",
                    url="http://web:8080/clear",
                    https=False,
                    host="web",
                    port=8080,
                    settle_seconds=0.0,
                ),
                History(pods=()),
            ),
        )
    ),
    "TakesACappedAnswerForAWholeOne": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
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
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(pods=(), caches=(Cache(ttl_seconds=0),)),
            ),
        )
    ),
    "TakesWhoAcceptedAConnectionForGone": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(
                    pods=(
                        (
                            PodState(at=2.0, listening=True, listed=True, behaviour="503"),
                            PodState(at=20.405, listening=True, listed=False),
                        ),
                        (PodState(at=2.0, listening=False, listed=True),),
                    ),
                    caches=(Cache(holds_seconds=5),),
                    turns=(
                        0,
                        2,
                    ),
                ),
            ),
        )
    ),
    "TakesWhoIsStillListedForGone": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(pods=((PodState(at=1.5, listening=False, listed=True),),)),
            ),
        )
    ),
    "TakesWhoNobodyListsForGone": Scenario(
        entries=(
            (
                Broadcast(
                    name="clear", url="http://web:8080/clear", https=False, host="web", port=8080
                ),
                History(
                    pods=(
                        (
                            PodState(at=-1.0, listening=False, listed=True),
                            PodState(at=1.0, listening=True, listed=False),
                        ),
                    )
                ),
            ),
        )
    ),
}
