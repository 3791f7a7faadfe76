"""The headers of every response, whoever made it: a view, an error, a static file, the server."""

from __future__ import annotations

CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "worker-src 'self'",
        "manifest-src 'self'",
        "frame-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
"""No inline script or style and no eval; `data:` images are those of the stylesheet."""

PERMISSIONS = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer", "autoplay", "browsing-topics", "camera", "display-capture",
        "encrypted-media", "fullscreen", "geolocation", "gyroscope", "magnetometer", "microphone",
        "midi", "payment", "picture-in-picture", "publickey-credentials-get", "screen-wake-lock",
        "usb", "xr-spatial-tracking",
    )
)  # fmt: skip

SECURITY_HEADERS: tuple[tuple[str, str], ...] = (
    ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
    ("Cross-Origin-Resource-Policy", "same-site"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Content-Security-Policy", CSP),
    ("Permissions-Policy", PERMISSIONS),
)
REQUEST_ID = "X-Request-ID"
NO_STORE = ("Cache-Control", "no-store")
"""Of whatever says nothing else: pages show facts of one person."""


def complete(headers: list[tuple[str, str]], request_id: str) -> list[tuple[str, str]]:
    """A response's headers with those above; what an application said of the same name is dropped.

    `Server` is dropped too: it tells nobody anything useful.
    """
    ours = {name.lower() for name, _ in SECURITY_HEADERS} | {REQUEST_ID.lower(), "server"}
    kept = [(name, value) for name, value in headers if name.lower() not in ours]
    if not any(name.lower() == "cache-control" for name, _ in kept):
        kept.append(NO_STORE)
    return [*kept, *SECURITY_HEADERS, (REQUEST_ID, request_id)]
