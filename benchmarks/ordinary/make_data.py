"""Make the notebook's synthetic table."""

from pathlib import Path

import pandas as pd
import torch
import yaml


def main():
    with Path("params.yaml").open() as f:
        params = yaml.safe_load(f)
    num_samples, num_features = params["make_data"]["samples"], params["make_data"]["features"]
    torch.manual_seed(params["seed"])

    X = torch.randn(num_samples, num_features)
    signal = 1.4 * X[:, 0] - 1.0 * X[:, 1] + 0.8 * X[:, 2] * X[:, 3] - 0.5 * X[:, 4] ** 2
    noise = params["make_data"]["noise"] * torch.randn(num_samples)
    y = (torch.sigmoid(signal + noise) > 0.5).float()

    df = pd.DataFrame(X.numpy(), columns=[f"x{i}" for i in range(num_features)])
    df["y"] = y.numpy()
    Path("data").mkdir(exist_ok=True)
    df.to_parquet("data/dataset.parquet", index=False)
    print(f"{len(df)} rows, positive class rate {df['y'].mean():.3f}")


if __name__ == "__main__":
    main()
