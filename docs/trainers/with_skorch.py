"""skorch: python docs/trainers/with_skorch.py"""

import torch
from skorch import NeuralNetClassifier
from torch import nn

import geosam


def train(model, x, y, metric):
    def sam(parameters, lr):
        return geosam.SAM(torch.optim.SGD(parameters, lr, momentum=0.9), metric, rho=0.1, max_norm=1.0)

    net = NeuralNetClassifier(model, criterion=nn.CrossEntropyLoss, optimizer=sam, lr=0.1, batch_size=8, max_epochs=1)
    return net.set_params(train_split=None, verbose=0).fit(x, y)


if __name__ == "__main__":
    from setting import data, network

    train(network(), *data().tensors, geosam.metrics.ParameterScaled())
