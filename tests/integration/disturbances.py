"""What is done to a cluster that works: which processes, how, when and for how long, all drawn from a seed before it
begins. Pure; kill_loop.py carries it out.
"""

import dataclasses
import random


@dataclasses.dataclass(frozen=True)
class Disturbance:
    number: int
    target: str  # what kill_loop.py calls it: `server`, `worker`, `trainer` ...
    how: str  # kill, stop, or what only this target knows
    moment: str  # what is waited for before it: MOMENTS
    away: float  # seconds: how long the target is stopped, or dead before it is started again
    also: str  # another target, killed in the middle of that; empty: none
    choices: random.Random = dataclasses.field(compare=False, repr=False)  # of what is chosen when it happens

    def __str__(self):
        more = f", meanwhile kill {self.also}" if self.also else ""
        return f"{self.number}: {self.how} {self.target} at {self.moment}, away {self.away:.2f} s{more}"


# What is waited for, and how often it is drawn. Each wait is bounded, so that nothing depends on a machine's speed.
MOMENTS = {
    "once": 3,  # within two seconds
    "preparing": 2,  # a trainer runs and its job is PREPARING
    "step": 4,  # a job has made some more steps
    "delivery": 2,  # a job has made its last step and is not SUCCEEDED yet
}

# (target, how): weight. "submit" is the server, killed while or right after a job is submitted.
PROCESSES = {
    ("server", "kill"): 8,
    ("server", "stop"): 6,
    ("worker", "kill"): 8,
    ("worker", "stop"): 6,
    ("trainer", "kill"): 8,
    ("trainer", "stop"): 4,
    ("worker and trainers", "kill"): 4,
    ("worker and trainers", "stop"): 4,
    ("everything", "kill"): 3,
    ("everything", "stop"): 2,
    ("submit", "kill"): 4,
    ("worker", "leave"): 3,
}


def pick(generator, weights):
    return generator.choices(list(weights), weights=list(weights.values()))[0]


def away_seconds(generator, lease, grace):
    """Mostly shorter than the lease, often longer, now and then so long that the server gives the jobs away
    (`grace` 0: never)."""
    length = pick(generator, {"short": 70, "long": 26, "given away": 4 if grace else 0})
    if length == "short":
        return generator.uniform(0, 0.7 * lease)
    if length == "long":
        return generator.uniform(1.1 * lease, 1.8 * lease)
    return generator.uniform(1.1, 1.3) * (lease + grace)


def draw(seed, count, lease, grace, kinds):
    """`count` disturbances, the same for the same arguments. `kinds` is like PROCESSES."""
    plan = []
    for number in range(1, count + 1):
        generator = random.Random(f"{seed}/{number}")
        target, how = pick(generator, kinds)
        moment = pick(generator, MOMENTS)
        if target == "trainer" and moment == "once":
            moment = "step"
        also = ""
        if generator.random() < 0.15 and target in ("server", "worker", "network"):
            also = {"server": "worker", "worker": "server", "network": generator.choice(["server", "worker"])}[target]
        away = away_seconds(generator, lease, 0 if target == "trainer" else grace)
        plan.append(Disturbance(number, target, how, moment, away, also, generator))
    return plan
