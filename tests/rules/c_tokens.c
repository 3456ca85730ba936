// SPDX-License-Identifier: BSD-3-Clause
/* C: who may open a PF or a VF, and with which token; every row by the group and by the node. */
#include "d3.h"
#include "sriov.h"

enum offer { NONE, RIGHT, WRONG };

static const char *const offers[] = {[NONE] = NULL, [RIGHT] = TOKEN_A, [WRONG] = TOKEN_B};

/* One cell of the matrix. */
struct cell {
	enum way way;
	bool vf;               /* the VF is opened, else the PF */
	enum pf_driver driver; /* who has the PF */
	bool pf_open, vf_open; /* the PF, and another VF, are open meanwhile */
	enum offer offer;
	int want;
};

/* The PF's token is TOKEN_A from now on. */
static void choose_token(struct t *t, enum way way, const struct sriov *s, const char *token)
{
	must(t, "choose-token", fn_try(t, way, &s->pf, token));
}

static void cell(struct t *t)
{
	const struct cell *c = t->rule->arg;
	long pf = -1, other = -1;
	struct sriov s;

	sriov_ready(t, &s, c->driver, 2);
	if (c->driver != PF_VFIO)
		need_own_groups(t, &s);
	if (c->driver == PF_VFIO)
		choose_token(t, c->way, &s, TOKEN_A);
	if (c->vf_open) {
		other = fn_open(t, c->way, &s.vf[1], TOKEN_A);
		must(t, "other-vf", other);
	}
	if (c->pf_open) {
		pf = fn_open(t, c->way, &s.pf, c->vf_open ? TOKEN_A : NULL);
		must(t, "pf", pf);
	}
	see(t, "rc", fn_try(t, c->way, c->vf ? &s.vf[0] : &s.pf, offers[c->offer]), c->want);
}

#define GROUP_CELL(n, ...)                                                                         \
	{                                                                                          \
		"C.1/group/" n, OPEN_NOTHING, NEED_IOMMU, cell, &(const struct cell)               \
		{                                                                                  \
			BY_GROUP, __VA_ARGS__                                                      \
		}                                                                                  \
	}
#define NODE_CELL(n, ...)                                                                          \
	{                                                                                          \
		"C.1/node/" n, OPEN_NOTHING, NEED_IOMMUFD, cell, &(const struct cell)              \
		{                                                                                  \
			BY_NODE, __VA_ARGS__                                                       \
		}                                                                                  \
	}
#define CELL(n, ...) GROUP_CELL(n, __VA_ARGS__), NODE_CELL(n, __VA_ARGS__)

/* ---- what a token changes -------------------------------------------------------------------- */

static enum way way_of(const struct t *t)
{
	return *(const enum way *)t->rule->arg;
}

/* A PF that nobody's VF depends on: no token, and it stays; a token, and it is that. */
static void pf_sets(struct t *t)
{
	const enum way way = way_of(t);
	struct sriov s;

	sriov_ready(t, &s, PF_VFIO, 1);
	see(t, "first", fn_try(t, way, &s.pf, TOKEN_A), 0);
	see(t, "vf", fn_try(t, way, &s.vf[0], TOKEN_A), 0);
	see(t, "none", fn_try(t, way, &s.pf, NULL), 0);
	see(t, "vf-same", fn_try(t, way, &s.vf[0], TOKEN_A), 0);
	see(t, "other", fn_try(t, way, &s.pf, TOKEN_B), 0);
	see(t, "vf-old", fn_try(t, way, &s.vf[0], TOKEN_A), -EACCES);
	see(t, "vf-new", fn_try(t, way, &s.vf[0], TOKEN_B), 0);
	see(t, "set-again", fn_try(t, way, &s.pf, TOKEN_B), 0);
}

/* A token that was never set is one that nobody knows. */
static void at_random(struct t *t)
{
	const enum way way = way_of(t);
	struct sriov s;

	sriov_ready(t, &s, PF_VFIO, 1);
	see(t, "none", fn_try(t, way, &s.vf[0], NULL), -EACCES);
	see(t, "zeros", fn_try(t, way, &s.vf[0], "00000000-0000-0000-0000-000000000000"), -EACCES);
	see(t, "any", fn_try(t, way, &s.vf[0], TOKEN_A), -EACCES);
	see(t, "pf", fn_try(t, way, &s.pf, NULL), 0);
	see(t, "vf-still", fn_try(t, way, &s.vf[0], TOKEN_A), -EACCES);
}

/* The same before there are VFs: what the PF is opened with holds for those to come. */
static void before_enable(struct t *t)
{
	const enum way way = way_of(t);
	struct sriov s;

	sriov_ready(t, &s, PF_VFIO, 0);
	see(t, "pf", fn_try(t, way, &s.pf, TOKEN_A), 0);
	must(t, "numvfs", sriov_set(&s, 2));
	sriov_learn(t, &s, 2);
	see(t, "none", fn_try(t, way, &s.vf[0], NULL), -EACCES);
	see(t, "wrong", fn_try(t, way, &s.vf[0], TOKEN_B), -EACCES);
	see(t, "right", fn_try(t, way, &s.vf[0], TOKEN_A), 0);
	see(t, "second", fn_try(t, way, &s.vf[1], TOKEN_A), 0);
}

/* A failed attempt changes nothing. */
static void failure_keeps(struct t *t)
{
	const enum way way = way_of(t);
	struct sriov s;
	long vf;

	sriov_ready(t, &s, PF_VFIO, 1);
	choose_token(t, way, &s, TOKEN_A);
	vf = fn_open(t, way, &s.vf[0], TOKEN_A);
	must(t, "vf", vf);
	see(t, "pf-wrong", fn_try(t, way, &s.pf, TOKEN_B), -EACCES);
	see(t, "pf-right", fn_try(t, way, &s.pf, TOKEN_A), 0);
	fn_close(&s.vf[0], (int)vf);
	see(t, "vf-wrong", fn_try(t, way, &s.vf[0], TOKEN_B), -EACCES);
	see(t, "vf-right", fn_try(t, way, &s.vf[0], TOKEN_A), 0);
}

/* Any 16 bytes are a token. */
static void any_value(struct t *t)
{
	static const char *const tokens[] = {"00000000-0000-0000-0000-000000000000",
					     "ffffffff-ffff-ffff-ffff-ffffffffffff",
					     "12345678-9abc-def0-1234-56789abcdef0"};
	static const char *const names[] = {"zeros", "ones", "no-version"};
	const enum way way = way_of(t);
	struct sriov s;

	sriov_ready(t, &s, PF_VFIO, 1);
	for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
		choose_token(t, way, &s, tokens[i]);
		see(t, names[i], fn_try(t, way, &s.vf[0], tokens[i]), 0);
		see(t, "other", fn_try(t, way, &s.vf[0], TOKEN_B), -EACCES);
	}
}

/* A function without SR-IOV has nothing to do with tokens. */
static void no_sriov(struct t *t)
{
	const enum way way = way_of(t);
	struct fn other;

	if (t->other->sriov)
		skip(t, "the second device has SR-IOV");
	snprintf(other.bdf, sizeof(other.bdf), "%s", t->other->bdf);
	other.group = t->other->group;
	see(t, "none", fn_try(t, way, &other, NULL), 0);
	see(t, "given", fn_try(t, way, &other, TOKEN_A), -EINVAL);
}

static const enum way by_group = BY_GROUP, by_node = BY_NODE;
#define BOTH(n, run, more)                                                                         \
	{"C.1/group/" n, OPEN_NOTHING, NEED_IOMMU | (more), run, &by_group},                       \
	{                                                                                          \
		"C.1/node/" n, OPEN_NOTHING, NEED_IOMMUFD | (more), run, &by_node                  \
	}

static const struct rule matrix[] = {
	/* A VF whose PF is not VFIO's. */
	CELL("vf/pf-of-other-driver/none", true, PF_STUB, false, false, NONE, 0),
	CELL("vf/pf-of-other-driver/given", true, PF_STUB, false, false, RIGHT, -EINVAL),
	/* A VF of a PF that VFIO has. */
	CELL("vf/pf-closed/none", true, PF_VFIO, false, false, NONE, -EACCES),
	CELL("vf/pf-closed/right", true, PF_VFIO, false, false, RIGHT, 0),
	CELL("vf/pf-closed/wrong", true, PF_VFIO, false, false, WRONG, -EACCES),
	CELL("vf/pf-open/none", true, PF_VFIO, true, false, NONE, -EACCES),
	CELL("vf/pf-open/right", true, PF_VFIO, true, false, RIGHT, 0),
	CELL("vf/pf-open/wrong", true, PF_VFIO, true, false, WRONG, -EACCES),
	CELL("vf/other-vf-open/none", true, PF_VFIO, false, true, NONE, -EACCES),
	CELL("vf/other-vf-open/right", true, PF_VFIO, false, true, RIGHT, 0),
	CELL("vf/other-vf-open/wrong", true, PF_VFIO, false, true, WRONG, -EACCES),
	CELL("vf/both-open/none", true, PF_VFIO, true, true, NONE, -EACCES),
	CELL("vf/both-open/right", true, PF_VFIO, true, true, RIGHT, 0),
	CELL("vf/both-open/wrong", true, PF_VFIO, true, true, WRONG, -EACCES),
	/* The PF. */
	CELL("pf/vf-open/none", false, PF_VFIO, false, true, NONE, -EACCES),
	CELL("pf/vf-open/right", false, PF_VFIO, false, true, RIGHT, 0),
	CELL("pf/vf-open/wrong", false, PF_VFIO, false, true, WRONG, -EACCES),
	CELL("pf/no-vf-open/none", false, PF_VFIO, false, false, NONE, 0),
	CELL("pf/no-vf-open/same", false, PF_VFIO, false, false, RIGHT, 0),
	CELL("pf/no-vf-open/other", false, PF_VFIO, false, false, WRONG, 0),
	/* By the group the PF may be open already: it is asked again. */
	GROUP_CELL("pf/open-again/none", false, PF_VFIO, true, false, NONE, 0),
	GROUP_CELL("pf/open-again/vf-open/none", false, PF_VFIO, true, true, NONE, -EACCES),
	GROUP_CELL("pf/open-again/vf-open/wrong", false, PF_VFIO, true, true, WRONG, -EACCES),
	GROUP_CELL("pf/open-again/vf-open/right", false, PF_VFIO, true, true, RIGHT, 0),
	BOTH("pf/sets-token", pf_sets, 0),
	BOTH("pf/token-of-its-own", at_random, 0),
	BOTH("pf/before-vfs", before_enable, 0),
	BOTH("failure-changes-nothing", failure_keeps, 0),
	BOTH("any-value", any_value, 0),
	BOTH("no-sriov", no_sriov, NEED_OTHER),
};
const struct section section_c1 = SECTION("C.1", matrix);
