"""The unmodified Python package connects accounts, signs people in and takes access back, on the real pages in a real browser."""

import asyncio
import contextlib
import unittest

from alter_sdk import (
    ConnectDeniedError,
    ConnectTimeoutError,
    CredentialRevokedError,
    GrantNotFoundError,
    GrantRevokedError,
    ProviderUnauthorizedError,
)

from chromium import Person
from vault import AgainstVault

QUICK = {"poll_interval": 0.2, "timeout": 60}


class Connecting(AgainstVault):
    def of(self, sub):
        """The app on behalf of a user."""
        return self.app(user_token_getter=lambda: self.vault.mint(sub))

    async def test_a_session_is_made_opened_polled_used_listed_and_revoked(self):
        me = self.vault.url("/me")
        async with self.of("ann") as app:
            session = await app.create_connect_session(
                allowed_providers=["sandbox"],
                required_scopes={"sandbox": ["read"]},
                allowed_origin="http://localhost:3000",
                metadata={"user_agent": "interop"},
            )
            self.assertTrue(session.connect_url.startswith(self.vault.info["base_url"]))
            self.assertNotIn(session.session_token, session.connect_url.split("#")[0])
            with self.assertRaises(ConnectTimeoutError):
                await app.poll_connect_session(session.session_token, timeout=1, poll_interval=0.2)

            with Person("ann", "ann@work") as person:
                person.open(session.connect_url)
                results = await app.poll_connect_session(session.session_token, **QUICK)
                self.assertEqual(person.ended(), "Connected")
            (result,) = results
            self.assertEqual((result.provider_id, result.account_identifier), ("sandbox", "ann@work"))
            self.assertEqual(result.scopes, ["read"])

            answer = await app.request("GET", me, provider="sandbox", reason="interop")
            self.assertEqual(answer.json()["account"], "ann@work")
            (grant,) = (await app.list_grants(provider_id="sandbox")).grants
            self.assertEqual((grant.grant_id, grant.status), (result.grant_id, "active"))

            receipt = await app.revoke_grant(result.grant_id, reason="interop")
            self.assertTrue(receipt.success)
            with self.assertRaises(GrantRevokedError):
                await app.request("GET", me, grant_id=result.grant_id)

    async def test_an_error_leads_to_a_session_that_mends_it(self):
        me = self.vault.url("/me")
        async with self.of("bea") as app:
            with self.assertRaises(GrantNotFoundError) as caught:
                await app.request("GET", me, provider="sandbox")
            session = await app.create_connect_session_for_error(caught.exception)
            with Person("bea", "bea@work") as person:
                person.open(session.connect_url)
                (result,) = await app.poll_connect_session(session.session_token, **QUICK)
                self.assertEqual(person.ended(), "Connected")
            answer = await app.request("GET", me, provider="sandbox")
            self.assertEqual(answer.json()["account"], "bea@work")
            self.assertEqual((result.account_identifier, result.operation), ("bea@work", "creation"))

    async def test_what_the_provider_took_away_is_repaired_under_the_same_grant(self):
        me = self.vault.url("/me")
        async with self.of("gus") as app:
            with Person("gus", "gus@work") as person:
                (first,) = await app.connect(providers=["sandbox"], **QUICK)
                self.assertEqual(person.ended(), "Connected")
            at_provider = (await app.request("GET", me, provider="sandbox")).json()["sub"]
            self.vault.disconnect(sub=at_provider, account="gus@work")
            # The package reports the 401 in the background; once the vault has heard, it asks for another token, and learns that
            # there is none.
            with self.assertRaises(CredentialRevokedError) as caught:
                for _ in range(50):
                    with contextlib.suppress(ProviderUnauthorizedError):
                        await app.request("GET", me, provider="sandbox")
                    await asyncio.sleep(0.1)
            session = await app.create_connect_session_for_error(caught.exception)
            with Person("gus", "gus@work") as person:
                person.open(session.connect_url)
                (again,) = await app.poll_connect_session(session.session_token, **QUICK)
                self.assertEqual(person.ended(), "Connected")
            self.assertEqual((again.grant_id, again.operation), (first.grant_id, "reauth"))
            answer = await app.request("GET", me, grant_id=first.grant_id)
            self.assertEqual(answer.json()["account"], "gus@work")

    async def test_connect_opens_the_browser_and_waits(self):
        async with self.app() as app:
            with Person("cleo", "shared@work") as person:
                (result,) = await app.connect(providers=["sandbox-two"], **QUICK)
                self.assertEqual(person.ended(), "Connected")
            answer = await app.request("GET", self.vault.url("/me"), grant_id=result.grant_id)
            self.assertEqual(answer.json()["account"], "shared@work")
            with Person("cleo") as person:
                (direct,) = await app.connect(providers=["sandbox"], direct=True, **QUICK)
                self.assertEqual(person.ended(), "Connected")
            self.assertNotEqual(direct.grant_id, result.grant_id)

    async def test_a_person_who_denies_is_a_typed_error(self):
        async with self.app() as app:
            with Person("dan", denies=True), self.assertRaises(ConnectDeniedError) as caught:
                await app.connect(providers=["sandbox"], **QUICK)
            self.assertEqual(caught.exception.details["error_code"], "connect_denied")

    async def test_authenticate_signs_a_person_in_and_the_account_that_they_connect_is_theirs(self):
        me = self.vault.url("/me")
        async with self.app() as app:
            with Person("eve", "eve@work") as person:
                signed_in = await app.authenticate(timeout=60)
                self.assertEqual(person.ended(), "You are signed in")
                self.assertEqual(await app.verify_user_token(signed_in.user_token), "eve")
                # On behalf of Eve from here on; the vault asks the fresh browser whether it is hers.
                (result,) = await app.connect(providers=["sandbox"], **QUICK)
                self.assertEqual(person.ended(), "Connected")
            answer = await app.request("GET", me, provider="sandbox")
            self.assertEqual(answer.json()["account"], "eve@work")
            self.assertEqual([grant.grant_id for grant in (await app.list_grants()).grants], [result.grant_id])
        async with self.of("mallory") as app:
            with self.assertRaises(GrantNotFoundError):
                await app.request("GET", me, grant_id=result.grant_id)

    async def test_a_link_in_somebody_elses_browser_connects_nothing(self):
        async with self.of("fay") as app:
            session = await app.create_connect_session(allowed_providers=["sandbox"])
            with Person("mallory") as person:
                person.open(session.connect_url)
                self.assertEqual(person.ended(), "This link is for somebody else")
            self.assertEqual((await app.list_grants()).total, 0)
            with self.assertRaises(ConnectTimeoutError):
                await app.poll_connect_session(session.session_token, timeout=1, poll_interval=0.2)


if __name__ == "__main__":
    unittest.main()
