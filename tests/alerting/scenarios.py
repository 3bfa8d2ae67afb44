"""Histories of runs, and which alerts are firing when; minutes count from one zero for all."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.alerting.runs import JOB

HAND, OTHER_JOB = "by-hand-1790000000", "reload-29380000"
DAY = 24 * 60

Firing = dict[int, set[str]]


@dataclass(frozen=True, slots=True)
class Run:
    minute: int
    case: str
    job: str = JOB


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    history: tuple[Run, ...]
    firing: Firing = field(hash=False)  # by the minute that is looked at

    def __str__(self) -> str:
        return self.name

    @property
    def namespace(self) -> str:
        return self.name.replace(" ", "-").replace(",", "")


def scenario(name: str, history: str, firing: dict[int, str]) -> Scenario:
    """`0 complete, 10 two broadcasts by hand` and `{5: "Failed RunNotComplete"}`."""
    runs = []
    for text in history.split(", "):
        minute, _, case = text.partition(" ")
        jobs = {" by hand": HAND, " of another CronJob": OTHER_JOB}
        suffix = next((each for each in jobs if case.endswith(each)), "")
        runs.append(Run(int(minute), case.removesuffix(suffix), jobs.get(suffix, JOB)))
    return Scenario(
        name, tuple(runs), {minute: set(names.split()) for minute, names in firing.items()}
    )


# One for each alert at least, in which it fires, and then resolves: these are also told under each
# layout of labels, and with each field renamed.
CORE = [
    scenario(
        "a broadcast fails and then succeeds",
        "0 complete, 10 failed, 20 complete",
        {5: "", 11: "Failed RunNotComplete", 21: ""},
    ),
    scenario(
        "a broadcast misses a pod and then none",
        "0 complete, 10 partial, 20 complete",
        {5: "", 11: "Partial RunNotComplete", 21: ""},
    ),
    scenario(
        "the configuration is wrong and then right",
        "0 complete, 10 invalid, 19 complete",
        {5: "", 11: "RunNotComplete", 20: ""},
    ),
    scenario(
        "silence is noticed after twice the schedule",
        "0 complete, 30 complete",
        {19: "", 21: "NoGoodRun", 31: ""},
    ),
    scenario(
        "DNS breaks and heals",
        "0 complete, 10 dns broken, 20 complete",
        {5: "", 11: "Failed RunNotComplete DNSBroken", 21: ""},
    ),
    scenario(
        "the same endpoint fails in three runs",
        "0 one pod, 5 one pod, 10 one pod, 15 complete",
        {6: "Partial RunNotComplete", 11: "Partial RunNotComplete EndpointKeepsFailing", 16: ""},
    ),
    scenario(
        "endpoints are gone in most runs and then in half of them",
        "0 gone, 10 gone, 20 gone, 30 complete, 40 complete, 50 complete",
        {11: "", 21: "EndpointsOftenGone", 41: "EndpointsOftenGone", 51: ""},
    ),
    scenario(
        "most runs are unconfirmed and then half of them",
        "0 unconfirmed, 10 unconfirmed, 20 unconfirmed, 30 complete, 40 complete, 50 complete",
        {11: "", 21: "OftenUnconfirmed", 41: "OftenUnconfirmed", 51: ""},
    ),
    scenario(
        "a run crashes and the next does not",
        "0 complete, 10 crashed, 19 complete",
        {5: "", 11: "RunNotComplete Crashed", 20: ""},
    ),
]

MORE = [
    scenario(
        "good runs raise nothing",
        "0 complete, 10 complete, 20 complete, 30 complete",
        {1: "", 11: "", 21: "", 31: "", 39: ""},
    ),
    scenario("a call that succeeds when repeated raises nothing", "0 recovered", {1: "", 11: ""}),
    scenario(
        "partial gets worse and better",
        "0 partial, 10 failed, 15 partial, 18 complete",
        {
            1: "Partial RunNotComplete",
            11: "Failed RunNotComplete",
            16: "Partial RunNotComplete",
            19: "",
        },
    ),
    scenario(
        "no run is good for twice the schedule",
        "0 failed, 10 failed, 20 failed, 30 complete",
        {
            11: "Failed RunNotComplete",
            21: "Failed RunNotComplete EndpointKeepsFailing NoGoodRun",
            31: "",
        },
    ),
    scenario(
        "a fresh install whose Service does not exist",
        "0 no pods",
        {
            -1: "",
            1: "Failed RunNotComplete",
            19: "Failed RunNotComplete",
            21: "Failed RunNotComplete NoGoodRun",
        },
    ),
    scenario(
        "no pods is not broken DNS", "0 dns broken, 10 no pods", {11: "Failed RunNotComplete"}
    ),
    scenario(
        "different endpoints fail in three runs",
        "0 partial, 5 partial elsewhere, 10 partial",
        {11: "Partial RunNotComplete"},
    ),
    scenario(
        "the same endpoint fails in every other run",
        "0 partial, 5 complete, 10 partial, 15 complete, 20 partial",
        {16: "", 21: "Partial RunNotComplete EndpointKeepsFailing"},
    ),
    scenario(
        "the same endpoint failed in three runs, two of them long ago",
        "0 partial, 5 partial, 115 complete, 125 complete, 130 partial",
        {131: "Partial RunNotComplete"},
    ),
    scenario(
        "an endpoint is gone now and then", "0 gone, 10 complete, 20 gone, 30 complete", {31: ""}
    ),
    scenario(
        "three of ten runs have endpoints gone",
        "0 gone, 5 complete, 10 gone, 15 complete, 20 gone, 25 complete, 30 complete",
        {31: ""},
    ),
    scenario("two runs are unconfirmed", "0 unconfirmed, 10 unconfirmed", {11: ""}),
    scenario("a failed run follows a crash", "0 crashed, 10 failed", {11: "Failed RunNotComplete"}),
    scenario("the command line is wrong", "0 usage", {1: "RunNotComplete"}),
    scenario(
        "a run is stopped, and run again",
        "0 stopped, 2 complete",
        {1: "Partial RunNotComplete", 3: ""},
    ),
    scenario(
        "one broadcast of two misses a pod",
        "0 two broadcasts",
        {1: "Partial RunNotComplete"},
    ),
    scenario(
        "a good run by hand settles the broadcast, and not the CronJob",
        "0 partial, 5 complete by hand",
        {1: "Partial RunNotComplete", 6: "RunNotComplete"},
    ),
    scenario(
        "a crash and a mistake by hand", "0 crashed by hand, 5 invalid by hand", {1: "", 6: ""}
    ),
    scenario(
        "another CronJob's good run does not settle this one's",
        "0 invalid, 5 complete of another CronJob",
        {6: "RunNotComplete"},
    ),
    scenario(
        "one CronJob has got over its crash and another has not",
        "0 crashed, 5 complete, 6 crashed of another CronJob",
        {7: "RunNotComplete Crashed"},
    ),
    scenario(
        "Kubernetes repeats the run within the Job",
        "0 failed, 2 partial, 4 complete",
        {1: "Failed RunNotComplete", 3: "Partial RunNotComplete", 5: ""},
    ),
    scenario(
        "a nightly run's failure lasts until the next night",
        f"-{DAY} failed",
        {0: "Failed RunNotComplete NoGoodRun"},
    ),
    scenario(
        "a failure is forgotten after 25 hours, silence is not",
        f"-{26 * 60} failed",
        {0: "NoGoodRun"},
    ),
    scenario(
        "a broadcast that was removed is forgotten after a week", f"-{8 * DAY} complete", {0: ""}
    ),
    scenario("outside a pod", "0 outside a pod", {1: "Partial RunNotComplete"}),
]
