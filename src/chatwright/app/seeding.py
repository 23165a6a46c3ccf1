"""The first keys and the demo, made by a short-lived process of `up`: what it loads is gone with it."""

from collections.abc import Callable

from chatwright.app.addresses import Addresses
from chatwright.app.credentials import Credentials, read_credentials, write_credentials
from chatwright.app.options import Settings
from chatwright.app.services import open_services
from chatwright.pipeline import demo


async def seed_all(settings: Settings, addresses: Addresses, *, base_url: str, tell: Callable[[str], None]) -> bool:
    """Make what is missing and write credentials.json. Returns True if a key was made.

    Raises Unavailable when a server is away or no worker indexes the demo's documents.
    """
    known = read_credentials(settings.data_dir) or Credentials()
    async with open_services(settings, addresses) as app:
        admin_key = await demo.ensure_admin_key(app, known.admin_key)
        written = Credentials(base_url=base_url, admin_key=admin_key)
        made_keys = admin_key != known.admin_key
        if settings.demo:
            access = await demo.seed(
                app,
                tenant_key=known.tenant_key,
                base_url=base_url,
                former_url=known.base_url,
                documents=demo.load_documentation(),
                tell=tell,
            )
            made_keys = made_keys or access.made_key
            written = Credentials(
                base_url=base_url,
                admin_key=admin_key,
                tenant_id=access.tenant_id,
                tenant_key=access.tenant_key,
                chatbot=access.chatbot,
                widget_id=access.widget_id,
            )
        if written != known:
            write_credentials(settings.data_dir, written)
    return made_keys
