"""Train the network as the notebook does, tracking the test part after every epoch."""

import json
from pathlib import Path

import pandas as pd
import torch
import yaml
from model import TwoLayerNN
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def load_dataset(path):
    """A Parquet file as a TensorDataset of features and target."""
    df = pd.read_parquet(path)
    X = torch.tensor(df.drop(columns="y").to_numpy(), dtype=torch.float32)
    y = torch.tensor(df["y"].to_numpy(), dtype=torch.float32).unsqueeze(1)
    return TensorDataset(X, y)


def run_epoch(model, loader, loss_fn, optimizer=None):
    """One pass over the loader, training if there is an optimizer: mean loss and accuracy."""
    training = optimizer is not None
    model.train(training)
    total_loss, total_correct, total_items = 0.0, 0.0, 0
    with torch.set_grad_enabled(training):
        for xb, yb in loader:
            logits = model(xb)
            loss = loss_fn(logits, yb)
            if training:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            preds = (torch.sigmoid(logits) >= 0.5).float()
            total_loss += loss.item() * xb.size(0)
            total_correct += (preds == yb).float().sum().item()
            total_items += xb.size(0)
    return total_loss / total_items, total_correct / total_items


def main():
    with Path("params.yaml").open() as f:
        params = yaml.safe_load(f)
    settings = params["train"]
    torch.manual_seed(params["seed"])

    train_ds, test_ds = load_dataset("data/train.parquet"), load_dataset("data/test.parquet")
    train_loader = DataLoader(train_ds, batch_size=settings["batch_size"], shuffle=True)
    test_loader = DataLoader(test_ds, batch_size=settings["batch_size"])
    input_dim = train_ds.tensors[0].shape[1]
    model = TwoLayerNN(input_dim, settings["hidden_size"])
    loss_fn = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=settings["learning_rate"])

    history = []
    for epoch in range(1, settings["epochs"] + 1):
        train_loss, train_acc = run_epoch(model, train_loader, loss_fn, optimizer)
        test_loss, test_acc = run_epoch(model, test_loader, loss_fn)
        history.append(
            {
                "epoch": epoch,
                "train_loss": train_loss,
                "train_accuracy": train_acc,
                "test_loss": test_loss,
                "test_accuracy": test_acc,
            }
        )
        if epoch == 1 or epoch % 5 == 0:
            print(
                f"Epoch {epoch:02d} | train_loss={train_loss:.4f} train_acc={train_acc:.3f} | "
                f"test_loss={test_loss:.4f} test_acc={test_acc:.3f}"
            )

    Path("models").mkdir(exist_ok=True)
    Path("metrics").mkdir(exist_ok=True)
    checkpoint = {"input_dim": input_dim, "hidden_dim": settings["hidden_size"], "state_dict": model.state_dict()}
    torch.save(checkpoint, "models/model.pt")
    pd.DataFrame(history).to_csv("metrics/history.csv", index=False)
    with Path("metrics/train.json").open("w") as f:
        json.dump({"loss": train_loss, "accuracy": train_acc}, f, indent=2)


if __name__ == "__main__":
    main()
