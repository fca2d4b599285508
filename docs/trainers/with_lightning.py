"""Lightning, automatic and manual: python docs/trainers/with_lightning.py"""

import lightning as L
import torch
from torch import nn

import geosam
from geosam.contrib.lightning import Callback


def automatic(model, batches, metric, problem=None, **options):
    class Module(L.LightningModule):
        def training_step(self, batch, index):
            return nn.functional.cross_entropy(model(batch[0]), batch[1])

        def configure_optimizers(self):
            return geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), metric, rho=0.1)

    L.Trainer(callbacks=[Callback(problem)], **options).fit(Module(), batches)


def manual(model, batches, metric, **options):
    class Module(L.LightningModule):
        automatic_optimization = False

        def training_step(self, batch, index):
            self.optimizers().step(geosam.Problem(model, nn.CrossEntropyLoss()).on(*batch))

        def configure_optimizers(self):
            return geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), metric, rho=0.1, max_norm=1.0)

    L.Trainer(**options).fit(Module(), batches)


if __name__ == "__main__":
    from setting import loader, network

    automatic(network(), loader(), None, max_epochs=2, accumulate_grad_batches=2, gradient_clip_val=1.0)
    manual(network(), loader(), geosam.metrics.EmpiricalFisher(), max_epochs=2)
