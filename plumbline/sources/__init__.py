"""Any table in: CSV, Parquet, a folder of Parquet, a generator; its labels; and what is refused."""
