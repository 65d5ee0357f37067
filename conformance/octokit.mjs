// Sets up an organization, a team, a package and a token for CI through octokit, as its users write it.
// Usage: octokit octokit.mjs BASE_URL ADMIN_TOKEN OWNER_TOKEN (.ci/setup/npm-tools.sh makes that command); prints the token.
import assert from "node:assert/strict";

const [base, admin, owner] = process.argv.slice(2);
const { Octokit } = await import(`${process.env.OCTOKIT_MODULES}/octokit/dist-bundle/index.js`);
const client = (auth) => new Octokit({ baseUrl: base, auth, retry: { enabled: false }, throttle: { enabled: false } });
const root = client(admin);
const alice = client(owner);
const status = (promise) => promise.then(({ status }) => status, ({ status }) => status);

const me = await alice.rest.users.getAuthenticated();
assert.equal(me.data.login, "alice");
assert.match(me.headers["x-oauth-scopes"], /admin:org/);

await root.request("POST /admin/users", { login: "heidi" });
await root.request("POST /admin/organizations", { login: "octo", admin: "alice" });
assert.equal((await alice.rest.orgs.get({ org: "octo" })).data.login, "octo");
assert.deepEqual((await alice.rest.orgs.listForAuthenticatedUser()).data.map(({ login }) => login), ["acme", "octo"]);

await alice.rest.orgs.setMembershipForUser({ org: "octo", username: "heidi", role: "member" });
const members = await alice.paginate(alice.rest.orgs.listMembers, { org: "octo", per_page: 1 });
assert.deepEqual(members.map(({ login }) => login), ["alice", "heidi"]);
assert.equal(await status(alice.rest.orgs.checkMembershipForUser({ org: "octo", username: "heidi" })), 204);

const { data: team } = await alice.rest.teams.create({ org: "octo", name: "platform", privacy: "closed" });
const { data: web } = await alice.rest.teams.create({ org: "octo", name: "web", parent_team_id: team.id });
assert.equal(web.parent.slug, "platform");
await alice.rest.teams.addOrUpdateMembershipForUserInOrg({
  org: "octo", team_slug: "web", username: "heidi", role: "maintainer",
});
const membership = await alice.rest.teams.getMembershipForUserInOrg({ org: "octo", team_slug: "web", username: "heidi" });
assert.equal(membership.data.role, "maintainer");
assert.deepEqual((await alice.rest.teams.listChildInOrg({ org: "octo", team_slug: "platform" })).data.map(({ name }) => name), ["web"]);
await alice.rest.orgs.update({ org: "octo", default_repository_permission: "read" });

const where = { package_type: "container", package_name: "tools/app" };
const { data: found } = await alice.rest.packages.getPackageForOrganization({ org: "acme", ...where });
assert.equal(found.version_count, 2);
const all = await alice.paginate(alice.rest.packages.listPackagesForOrganization, {
  org: "acme", package_type: "container", per_page: 1,
});
assert.deepEqual(all.map(({ name }) => name), ["tools/app", "tools/web"]);
const versions = await alice.rest.packages.getAllPackageVersionsForPackageOwnedByOrg({ org: "acme", ...where });
const doomed = versions.data[0];
const one = { org: "acme", ...where, package_version_id: doomed.id };
assert.equal((await alice.rest.packages.getPackageVersionForOrganization(one)).data.name, doomed.name);
assert.equal(await status(alice.rest.packages.deletePackageVersionForOrg(one)), 204);
assert.equal(await status(alice.rest.packages.getPackageVersionForOrganization(one)), 404);
assert.equal(await status(alice.rest.packages.restorePackageVersionForOrg(one)), 204);
assert.equal(await status(alice.rest.packages.deletePackageForOrg({ org: "acme", ...where })), 204);
assert.equal(await status(alice.rest.packages.restorePackageForOrg({ org: "acme", ...where })), 204);

await alice.request("PUT /orgs/{org}/packages/{package_type}/{package_name}/access/users/{user}", {
  org: "acme", ...where, user: "heidi", role: "read",
});
const { data: why } = await alice.request(
  "GET /orgs/{org}/packages/{package_type}/{package_name}/permission/{user}", { org: "acme", ...where, user: "heidi", action: "push" },
);
assert.deepEqual([why.allowed, why.code], [false, "role"]);

await assert.rejects(alice.rest.orgs.get({ org: "absent" }), (error) => error.status === 404 && /no user or organization/.test(error.message));
assert.equal(await status(client().rest.users.getAuthenticated()), 401);

const { data: token } = await alice.request("POST /user/tokens", {
  scopes: ["read:packages", "write:packages"], packages: ["acme/tools/app"], expires_in: 3600,
});
console.log(token.token);
