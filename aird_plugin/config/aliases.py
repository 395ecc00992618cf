"""Class paths and keys in recipes and run folders of earlier versions, and their current names."""

MODULES = {
    "adapted": "bridge_distillation",
    "alignment": "cosine",
    "attention": "at",
    "feature": "fkd",
    "generative": "gdrd",
}
CLASSES = {
    "adapted:Adapted": "BridgeDistillation",
    "alignment:Alignment": "CosineRegression",
    "askd:AttentionSimilarity": "ASKD",
    "attention:Attention": "AT",
    "crd:Contrast": "CRD",
    "feature:Feature": "FKD",
    "fskd:FeatureSimilarity": "FSKD",
    "generative:Generative": "GDRD",
    "horkd:HybridOrder": "HORKD",
    "instance:Instance": "IID",
    "relation:Relation": "RID",
    "rkd:Relational": "RKD",
}
PACKAGE = "aird_plugin.losses."
# Key of an earlier version -> the value of `centers` that its True stands for.
CENTERS = {"head_frozen": "frozen", "head_adaptive": "adaptive"}


def current_name(class_path: object) -> object:
    """The current name of a `module:Class`; any other value is returned unchanged."""
    old = class_path.removeprefix(PACKAGE) if isinstance(class_path, str) and class_path.startswith(PACKAGE) else None
    if old not in CLASSES:
        return class_path
    module = old.partition(":")[0]
    return f"{PACKAGE}{MODULES.get(module, module)}:{CLASSES[old]}"


def with_current_names(config: dict) -> dict:
    """Flat recipe keys with the current names of terms and margin, and `centers` for the two keys that it replaced.

    Raises ValueError for old keys that contradict one another or `centers`.
    """
    config = with_centers(config)
    terms = config.get("terms")
    named = {"terms": {name: current_name(class_path) for name, class_path in terms.items()}} if isinstance(terms, dict) else {}
    return config | named | ({"margin": current_name(config["margin"])} if "margin" in config else {})


def with_centers(config: dict) -> dict:
    """Flat recipe keys with `centers` in place of head_frozen and head_adaptive."""
    old = {key: config[key] for key in CENTERS if key in config}
    if not old:
        return config
    for key, value in old.items():
        if not isinstance(value, bool):
            raise ValueError(f"{key} is a bool; got {value!r} ({type(value).__name__})")
    meant = [CENTERS[key] for key, value in old.items() if value] or ["trained"]
    if len(meant) > 1 or config.get("centers", meant[0]) != meant[0]:
        given = ", ".join(f"{key}={config[key]!r}" for key in (*old, "centers") if key in config)
        raise ValueError(f"{given} contradict one another; centers replaces the other keys: set it alone")
    return {key: value for key, value in config.items() if key not in CENTERS} | {"centers": meant[0]}
