"""Whether the Hugging Face hub can be reached: asked once, quickly, instead of minutes of retries."""

import functools
import urllib.error
import urllib.request

SECONDS = 4.0


@functools.cache
def reachable() -> bool:
    """One request to the hub; False when it is switched off (HF_HUB_OFFLINE) or does not answer.

    The libraries themselves would retry for half a minute.
    """
    from huggingface_hub import constants

    if switched_off():
        return False
    try:
        urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=SECONDS).close()
    except urllib.error.HTTPError:
        return True  # it answered, whatever it said
    except OSError:
        return False
    return True


def switched_off() -> bool:
    """Whether the user allows no request at all (HF_HUB_OFFLINE=1)."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def why_unreachable() -> str:
    """The reason, for an error message."""
    from huggingface_hub import constants

    if switched_off():
        return "the Hugging Face hub is switched off here (HF_HUB_OFFLINE)"
    return f"the Hugging Face hub cannot be reached ({constants.ENDPOINT})"
