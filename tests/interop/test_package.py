"""The unmodified Python package against our vault: what it promises must hold."""

import unittest

import alter_sdk
from alter_sdk import (
    AgentDelegationMissingError,
    AmbiguousGrantError,
    GrantNotFoundError,
    GrantRevokedError,
    InvalidKeyError,
    NoDelegatedGrantError,
    ReAuthRequiredError,
    is_valid_key,
)

from vault import AgainstVault


class Calls(AgainstVault):
    def test_our_keys_are_valid_to_the_package(self):
        for owner in ("app", "agent"):
            self.assertTrue(is_valid_key(self.vault.info[owner]["key"]), owner)

    async def test_request_by_grant_id(self):
        grant = self.vault.user("user-1")["grants"][0]
        async with self.app() as app:
            answer = await app.request("GET", self.vault.url("/me"), grant_id=grant["grant_id"])
        self.assertEqual(answer.status_code, 200)
        self.assertEqual(answer.json()["sub"], "user-1")
        self.assertEqual(answer.json()["account"], grant["account"])

    async def test_request_by_provider_and_user_token(self):
        provider = self.vault.info["provider"]["id"]
        async with self.app(user_token_getter=lambda: self.vault.mint("user-1")) as app:
            answer = await app.request("GET", self.vault.url("/me"), provider=provider, reason="interop")
        self.assertEqual(answer.json()["sub"], "user-1")

    async def test_two_accounts_are_ambiguous_until_one_is_named(self):
        provider = self.vault.info["provider"]["id"]
        grants = self.vault.user("user-2")["grants"]
        accounts = sorted(grant["account"] for grant in grants)
        async with self.app(user_token_getter=lambda: self.vault.mint("user-2")) as app:
            with self.assertRaises(AmbiguousGrantError) as caught:
                await app.request("GET", self.vault.url("/me"), provider=provider)
            self.assertEqual(sorted(caught.exception.account_identifiers), accounts)
            self.assertEqual(
                sorted(candidate.grant_id for candidate in caught.exception.candidates),
                sorted(grant["grant_id"] for grant in grants),
            )
            self.assertEqual(caught.exception.provider_id, provider)
            for account in accounts:
                answer = await app.request("GET", self.vault.url("/me"), provider=provider, account=account)
                self.assertEqual((answer.json()["sub"], answer.json()["account"]), ("user-2", account))

    async def test_an_agent_calls_with_its_own_grant(self):
        secret = self.vault.info["managed_secret"]
        async with alter_sdk.Agent(self.vault.info["agent"]["key"], caller=self.vault.info["agent"]["id"]) as agent:
            by_id = await agent.request("GET", self.vault.url("/me"), grant_id=secret["agent_grant_id"])
            by_slug = await agent.request("GET", self.vault.url("/me"), provider=secret["slug"])
            self.assertEqual((by_id.status_code, by_slug.status_code), (200, 200))
            self.assertEqual(by_id.json()["sub"], by_slug.json()["sub"])
            foreign = self.vault.user("user-1")["grants"][0]["grant_id"]
            with self.assertRaises(AgentDelegationMissingError):
                await agent.request("GET", self.vault.url("/me"), grant_id=foreign)
            with self.assertRaises(NoDelegatedGrantError) as caught:
                await agent.request("GET", self.vault.url("/me"), provider=self.vault.info["provider"]["id"])
            self.assertEqual(caught.exception.agent_id, self.vault.info["agent"]["id"])

    async def test_the_application_uses_its_system_grant(self):
        secret = self.vault.info["managed_secret"]
        async with self.app() as app:
            by_id = await app.request("GET", self.vault.url("/me"), grant_id=secret["grant_id"])
            by_slug = await app.request("GET", self.vault.url("/me"), provider=secret["slug"])
        self.assertEqual((by_id.status_code, by_slug.status_code), (200, 200))

    async def test_one_users_token_does_not_reach_anothers_grant(self):
        foreign = self.vault.user("user-1")["grants"][0]["grant_id"]
        async with self.app(user_token_getter=lambda: self.vault.mint("user-3")) as app:
            with self.assertRaises(GrantNotFoundError):
                await app.request("GET", self.vault.url("/me"), grant_id=foreign)
            with self.assertRaises(GrantNotFoundError) as caught:
                await app.request("GET", self.vault.url("/me"), provider=self.vault.info["provider"]["id"])
            self.assertEqual(caught.exception.provider_id, self.vault.info["provider"]["id"])
            with self.assertRaises(GrantNotFoundError):
                await app.revoke_grant(foreign)

    async def test_bad_tokens_and_keys_are_refused_with_their_type(self):
        provider = self.vault.info["provider"]["id"]
        async with self.app() as app:
            for token in (self.vault.mint("user-1", ttl=-600), "not-a-jwt"):
                with self.assertRaises(ReAuthRequiredError):
                    await app.request("GET", self.vault.url("/me"), provider=provider, user_token=token)
            self.assertEqual(await app.verify_user_token(self.vault.mint("user-1")), "user-1")
            self.assertIsNone(await app.verify_user_token("not-a-jwt"))
        async with alter_sdk.App("alter_rk_abcdefghijklmnopqrstuv_iwpykn") as stranger:
            with self.assertRaises(InvalidKeyError):
                await stranger.list_grants()

    async def test_the_audit_rows_that_the_package_posts_are_stored(self):
        grant = self.vault.user("user-1")["grants"][0]["grant_id"]
        async with self.app(caller="interop-suite") as app:
            await app.request(
                "GET",
                self.vault.url("/me"),
                grant_id=grant,
                reason="audit-probe",
                context={"tool": "café"},
            )
            self.assertIsNotNone(app.actor_id)
            self.assertIsNotNone(app.last_rate_limit)
        rows = [row for row in self.vault.audit() if row.get("reason") == "audit-probe"]
        self.assertEqual(sorted(row["action"] for row in rows), ["call.reported", "token.released"])
        for row in rows:
            self.assertEqual(row["caller"], "interop-suite")
            self.assertEqual(row["grant_id"], grant)
        reported = next(row for row in rows if row["action"] == "call.reported")
        self.assertEqual(reported["status"], 200)
        verdict = self.vault.cli("audit", "verify")
        self.assertTrue(verdict["ok"], verdict)


class Revocation(AgainstVault):
    async def test_listing_and_revoking(self):
        vault, provider = self.vault, self.vault.info["provider"]["id"]
        async with self.app(user_token_getter=lambda: vault.mint("user-2")) as app:
            page = await app.list_grants()
            self.assertEqual(
                sorted(grant.grant_id for grant in page.grants),
                sorted(grant["grant_id"] for grant in vault.user("user-2")["grants"]),
            )
            self.assertEqual((page.total, page.has_more), (2, False))
            gone = vault.user("user-2")["grants"][0]
            receipt = await app.revoke_grant(gone["grant_id"], reason="interop")
            self.assertTrue(receipt.success)
            self.assertEqual(receipt.grant_id, gone["grant_id"])
            with self.assertRaises(GrantRevokedError) as caught:
                await app.request("GET", vault.url("/me"), grant_id=gone["grant_id"])
            self.assertEqual(caught.exception.grant_id, gone["grant_id"])
            with self.assertRaises(GrantRevokedError):
                await app.request("GET", vault.url("/me"), provider=provider, account=gone["account"])
            left = await app.request("GET", vault.url("/me"), provider=provider)
            self.assertNotEqual(left.json()["account"], gone["account"])
            active = await app.list_grants(status="active")
            self.assertEqual(active.total, 1)
        async with self.app() as app:
            everything = await app.list_grants(limit=1, offset=1)
            self.assertEqual(len(everything.grants), 1)
            self.assertTrue(everything.has_more)


if __name__ == "__main__":
    unittest.main()
