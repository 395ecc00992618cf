"""One panel of the report a file: `section(material) -> Section`, nothing but drawing."""
