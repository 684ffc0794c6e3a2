"""Score the test part: scikit-learn's metrics, and the points of the plots."""

import json
from pathlib import Path

import pandas as pd
import torch
import yaml
from model import TwoLayerNN
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)
from torch.utils.data import DataLoader, TensorDataset


def main():
    with Path("params.yaml").open() as f:
        params = yaml.safe_load(f)
    checkpoint = torch.load("models/model.pt")
    model = TwoLayerNN(checkpoint["input_dim"], checkpoint["hidden_dim"])
    model.load_state_dict(checkpoint["state_dict"])
    model.eval()

    df = pd.read_parquet("data/test.parquet")
    X = torch.tensor(df.drop(columns="y").to_numpy(), dtype=torch.float32)
    loader = DataLoader(TensorDataset(X), batch_size=params["evaluate"]["batch_size"])
    with torch.no_grad():
        y_prob = torch.cat([torch.sigmoid(model(xb)).squeeze(1) for (xb,) in loader]).numpy()
    y_true = df["y"].to_numpy().astype(int)
    y_pred = (y_prob >= 0.5).astype(int)

    tn, fp, fn, tp = confusion_matrix(y_true, y_pred).ravel().tolist()
    metrics = {
        "accuracy": accuracy_score(y_true, y_pred),
        "log_loss": log_loss(y_true, y_prob),
        "roc_auc": roc_auc_score(y_true, y_prob),
        "brier": brier_score_loss(y_true, y_prob),
        "precision": precision_score(y_true, y_pred),
        "recall": recall_score(y_true, y_pred),
        "f1": f1_score(y_true, y_pred),
        "confusion": {"tn": tn, "fp": fp, "fn": fn, "tp": tp},
    }
    with Path("metrics/evaluate.json").open("w") as f:
        json.dump(metrics, f, indent=2)

    fpr, tpr, _ = roc_curve(y_true, y_prob)
    pd.DataFrame({"fpr": fpr, "tpr": tpr}).to_csv("metrics/roc.csv", index=False)
    predictions = pd.DataFrame({"actual": y_true, "predicted": y_pred, "probability": y_prob})
    predictions[["actual", "predicted"]].to_csv("metrics/confusion.csv", index=False)
    predictions.to_parquet("metrics/predictions.parquet", index=False)
    print(f"Test accuracy {metrics['accuracy']:.3f}, ROC AUC {metrics['roc_auc']:.3f}")


if __name__ == "__main__":
    main()
