"""train_rl with a reward that an untrained policy gets now and then: what the tests of several processes start."""

from entropy_rl.tasks import countdown
from experiments import train_rl
from experiments.lib import launch


def verify(self, problem, response):
    """1 for a third of the lengths."""
    return float(len(response) % 3 == 0)


if __name__ == "__main__":
    countdown.Countdown.verify = verify
    launch.main(train_rl.run, distributed=True)
