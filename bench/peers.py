def compare(folder): return []
