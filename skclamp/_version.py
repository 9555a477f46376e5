"""The version, for whoever writes it into a file, and where the documentation is."""

from importlib.metadata import PackageNotFoundError, metadata

__version__ = "0.1.0"


def documentation():
    """Return the address of the site that the installed package names as its Documentation; empty without one."""
    try:
        urls = metadata("skclamp").get_all("Project-URL") or ()
    except PackageNotFoundError:
        return ""
    return dict(url.split(", ", 1) for url in urls).get("Documentation", "").rstrip("/")
