def config_keys_page() -> str:
    return "# Every config key\n"
