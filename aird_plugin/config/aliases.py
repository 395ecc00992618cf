"""Class paths in recipes and run folders of earlier versions, and their current names."""

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


def today(place: object) -> object:
    """The current name of a `module:Class`; any other value is returned unchanged."""
    old = place.removeprefix(PACKAGE) if isinstance(place, str) and place.startswith(PACKAGE) else None
    if old not in CLASSES:
        return place
    module = old.partition(":")[0]
    return f"{PACKAGE}{MODULES.get(module, module)}:{CLASSES[old]}"


def today_in(config: dict) -> dict:
    """Flat recipe keys with the current names of terms and margin."""
    terms = config.get("terms")
    named = {"terms": {name: today(place) for name, place in terms.items()}} if isinstance(terms, dict) else {}
    return config | named | ({"margin": today(config["margin"])} if "margin" in config else {})
