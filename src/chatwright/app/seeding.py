"""The first keys and the demo, made by a short-lived process of `up`: what it loads is gone with it."""

from collections.abc import Callable
from dataclasses import replace

from chatwright.app.addresses import Addresses
from chatwright.app.credentials import Credentials, read_credentials, write_credentials
from chatwright.app.options import Settings
from chatwright.app.services import open_services
from chatwright.pipeline import demo


async def seed_all(settings: Settings, addresses: Addresses, *, base_url: str, tell: Callable[[str], None]) -> bool:
    """Make what is missing and write credentials.json. Returns True if a key was made.

    The file is there before the demo's documents are read: commands in another terminal need not wait for that.
    Raises Unavailable when a server is away.
    """
    known = read_credentials(settings.data_dir) or Credentials()
    async with open_services(settings, addresses) as app:
        admin_key = await demo.ensure_admin_key(app, known.admin_key)
        ours = Credentials(base_url=base_url, admin_key=admin_key)

        def keep(access: demo.DemoAccess | None) -> None:
            written = ours
            if access is not None:
                written = replace(
                    ours,
                    tenant_id=access.tenant_id,
                    tenant_key=access.tenant_key,
                    chatbot=access.chatbot,
                    widget_id=access.widget_id,
                )
            if written != known:
                write_credentials(settings.data_dir, written)

        if not settings.demo:
            keep(None)
            return admin_key != known.admin_key
        access = await demo.seed(
            app,
            tenant_key=known.tenant_key,
            base_url=base_url,
            former_url=known.base_url,
            documents=demo.load_documentation(),
            tell=tell,
            keep=keep,
        )
    return access.made_key or admin_key != known.admin_key
