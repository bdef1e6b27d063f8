"""A hand-driven client of the Octopia simulator: what a person would do with curl."""

from __future__ import annotations

from typing import Any

import httpx

from mailbridge.sandbox.octopia import OctopiaSimulator

__all__ = ["Rest"]


class Rest:
    """Signed in once, unless told to do it again."""

    def __init__(self, market: OctopiaSimulator, http: httpx.AsyncClient) -> None:
        self.market = market
        self.http = http
        self.token = ""

    async def sign_in(self, **changes: str) -> httpx.Response:
        """Ask for a token; `changes` replace fields of the form."""
        form = {
            "grant_type": "client_credentials",
            "client_id": self.market.client_id,
            "client_secret": self.market.client_secret,
            **changes,
        }
        answer = await self.http.post(self.market.token_url, data=form)
        if answer.status_code == 200:
            self.token = answer.json()["access_token"]
        return answer

    async def call(
        self, method: str, path: str, body: Any = None, /, **query: str | int | bool
    ) -> httpx.Response:
        """One call; `path` may be a whole URL. None is no body."""
        if not self.token:
            await self.sign_in()
        url = path if "://" in path else self.market.api_url + path
        headers = {"Authorization": f"Bearer {self.token}", "SellerId": self.market.seller_id}
        more: dict[str, Any] = {} if body is None else {"json": body}
        if query:
            more["params"] = query
        return await self.http.request(method, url, headers=headers, **more)

    async def get(self, path: str, /, **query: str | int | bool) -> Any:
        """The body of a GET that must succeed."""
        answer = await self.call("GET", path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def whole(self, path: str, /, **query: str | int | bool) -> list[Any]:
        """The items of all pages, by following the links."""
        items: list[Any] = []
        answer = await self.call("GET", path, **query)
        while True:
            assert answer.status_code == 200, answer.text
            items += answer.json()["items"]
            following = answer.links.get("next")
            if following is None:
                return items
            answer = await self.call("GET", following["url"])

    async def reply(self, discussion: str, text: str, **changes: Any) -> httpx.Response:
        """Answer the customer; `changes` replace fields, None takes one out."""
        body = {"discussionId": discussion, "body": text, "receiver": "Customer", **changes}
        wanted = {name: value for name, value in body.items() if value is not None}
        return await self.call("POST", "/messages", wanted)

    async def turn(self, discussion: str, *, open_: bool) -> httpx.Response:
        """Close or reopen."""
        step = {"opt": "replace", "path": "/isOpen", "value": str(open_).lower()}
        return await self.call("PATCH", f"/discussions/{discussion}", [step])
