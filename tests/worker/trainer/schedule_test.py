"""Goal: the learning rate of every step is that of transformers' scheduler of the same name. Method: the rates the
program reports, against transformers.get_scheduler around torch's AdamW, for shapes with and without warm-up."""

import unittest

import torch
import transformers
from trainer_runs import TrainerTestCase


class ScheduleTest(TrainerTestCase):
    def expected(self, name, warmup, steps):
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-2)
        kind = {"constant": "constant_with_warmup"}.get(name, name)
        scheduler = transformers.get_scheduler(kind, optimizer, num_warmup_steps=warmup, num_training_steps=steps)
        rates = []
        for _ in range(steps):
            rates.append(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
        return rates

    def test_every_shape(self):
        for name in ("constant", "linear", "cosine"):
            for warmup, steps in ((0, 1), (0, 7), (3, 7), (1, 12), (7, 7), (9, 5)):
                with self.subTest(schedule=name, warmup=warmup, steps=steps):
                    spec = self.spec(optimizer={"schedule": name, "warmup_steps": warmup},
                                     training={"max_steps": steps, "gradient_accumulation_steps": 1},
                                     dataset={"validation": ""})
                    run = self.complete(spec, f"{name}-{warmup}-{steps}")
                    rates = [step["learning_rate"] for step in run.of("step")]
                    for ours, theirs in zip(rates, self.expected(name, warmup, steps), strict=True):
                        self.assertAlmostEqual(ours, theirs, delta=1e-12)


if __name__ == "__main__":
    unittest.main()
