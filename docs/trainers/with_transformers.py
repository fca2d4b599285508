"""transformers' Trainer, and PEFT: python docs/trainers/with_transformers.py"""

import peft
from torch import nn
from transformers import TrainingArguments

import geosam
from geosam.contrib.transformers import SAMTrainer


class Classifier(nn.Module):
    """A network with the outputs that the Trainer reads."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, labels):
        logits = self.net(x)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def train(model, samples, metric, **arguments):
    arguments = TrainingArguments(max_grad_norm=1.0, learning_rate=0.1, **arguments)
    SAMTrainer(model, arguments, train_dataset=samples, sam={"metric": metric, "rho": 0.1}).train()


def train_lora(model, samples, metric, **arguments):
    model = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["net.0", "net.2"]))
    train(model, samples, metric, **arguments)


if __name__ == "__main__":
    from setting import data, network

    samples = [{"x": x, "labels": y} for x, y in data()]
    how = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "num_train_epochs": 2, "report_to": "none"}
    for run in (train, train_lora):
        run(Classifier(network()), samples, geosam.metrics.ParameterScaled(), **how)
