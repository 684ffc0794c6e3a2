"""Split the table into a training and a test part."""

from pathlib import Path

import pandas as pd
import yaml
from sklearn.model_selection import train_test_split


def main():
    with Path("params.yaml").open() as f:
        params = yaml.safe_load(f)
    df = pd.read_parquet("data/dataset.parquet")
    train, test = train_test_split(df, train_size=params["split"]["train"], random_state=params["seed"])
    train.to_parquet("data/train.parquet", index=False)
    test.to_parquet("data/test.parquet", index=False)
    print(f"{len(train)} training rows, {len(test)} test rows")


if __name__ == "__main__":
    main()
