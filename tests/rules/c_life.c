// SPDX-License-Identifier: BSD-3-Clause
/* C: how long a token lives, and who counts as a user of a VF. */
#include <signal.h>
#include <sys/wait.h>
#include "d3.h"
#include "sriov.h"

static enum way way_of(const struct t *t)
{
	return *(const enum way *)t->rule->arg;
}

static void with_token(struct t *t, struct sriov *s, unsigned n)
{
	sriov_ready(t, s, PF_VFIO, n);
	must(t, "choose-token", fn_try(t, way_of(t), &s->pf, TOKEN_A));
}

/* Opened and closed again, by whomever: it stays. */
static void opens(struct t *t)
{
	const enum way way = way_of(t);
	struct sriov s;

	with_token(t, &s, 1);
	for (int i = 0; i < 3; i++) {
		see(t, "pf", fn_try(t, way, &s.pf, NULL), 0);
		see(t, "vf", fn_try(t, way, &s.vf[0], TOKEN_A), 0);
	}
	see(t, "vf-wrong", fn_try(t, way, &s.vf[0], TOKEN_B), -EACCES);
}

/* VFs that go and come again are under the same token. */
static void disabled(struct t *t)
{
	const enum way way = way_of(t);
	struct sriov s;

	with_token(t, &s, 1);
	see(t, "off", sriov_set(&s, 0), 0);
	see(t, "pf", fn_try(t, way, &s.pf, NULL), 0);
	see(t, "on", sriov_set(&s, 2), 0);
	sriov_learn(t, &s, 2);
	see(t, "none", fn_try(t, way, &s.vf[0], NULL), -EACCES);
	see(t, "right", fn_try(t, way, &s.vf[0], TOKEN_A), 0);
	see(t, "new-vf", fn_try(t, way, &s.vf[1], TOKEN_A), 0);
}

/* With the driver's hold of the PF it goes; the next one is at random again. */
static void pf_rebound(struct t *t)
{
	const enum way way = way_of(t);
	struct sriov s;

	with_token(t, &s, 1);
	see(t, "unbind", fn_unbind(s.pf.bdf), 0);
	see(t, "vfs", fn_number(s.pf.bdf, "sriov_numvfs"), 0);
	see_bool(t, "vf-there", fn_has(s.vf[0].bdf, "vendor"), false);
	see(t, "bind", fn_bind(s.pf.bdf, "vfio-pci"), 0);
	see(t, "on", sriov_set(&s, 1), 0);
	sriov_learn(t, &s, 1);
	see(t, "none", fn_try(t, way, &s.vf[0], NULL), -EACCES);
	see(t, "old", fn_try(t, way, &s.vf[0], TOKEN_A), -EACCES);
	see(t, "pf", fn_try(t, way, &s.pf, TOKEN_B), 0);
	see(t, "new", fn_try(t, way, &s.vf[0], TOKEN_B), 0);
}

/* A VF that is bound again is still the PF's. */
static void vf_rebound(struct t *t)
{
	const enum way way = way_of(t);
	struct sriov s;

	with_token(t, &s, 1);
	see(t, "unbind", fn_unbind(s.vf[0].bdf), 0);
	see(t, "bind", fn_bind(s.vf[0].bdf, "vfio-pci"), 0);
	see(t, "none", fn_try(t, way, &s.vf[0], NULL), -EACCES);
	see(t, "wrong", fn_try(t, way, &s.vf[0], TOKEN_B), -EACCES);
	see(t, "right", fn_try(t, way, &s.vf[0], TOKEN_A), 0);
}

/* The requirement is not the open PF's: nobody need hold it. */
static void pf_closed(struct t *t)
{
	const enum way way = way_of(t);
	struct sriov s;
	long pf, vf;

	sriov_ready(t, &s, PF_VFIO, 1);
	pf = fn_open(t, way, &s.pf, TOKEN_A);
	must(t, "pf", pf);
	vf = fn_open(t, way, &s.vf[0], TOKEN_A);
	must(t, "vf", vf);
	fn_close(&s.pf, (int)pf);
	see(t, "pf-none", fn_try(t, way, &s.pf, NULL), -EACCES);
	see(t, "pf-other", fn_try(t, way, &s.pf, TOKEN_B), -EACCES);
	see(t, "pf-right", fn_try(t, way, &s.pf, TOKEN_A), 0);
	fn_close(&s.vf[0], (int)vf);
	see(t, "pf-none-later", fn_try(t, way, &s.pf, NULL), 0);
}

/* A VF that is open is a user until its last descriptor is closed; of two VFs each is one. */
static void users(struct t *t)
{
	struct sriov s;
	long first, again, second;

	with_token(t, &s, 2);
	first = fn_open(t, BY_GROUP, &s.vf[0], TOKEN_A);
	must(t, "vf", first);
	again = fn_open(t, BY_GROUP, &s.vf[0], TOKEN_A);
	must(t, "vf-again", again);
	second = fn_open(t, BY_GROUP, &s.vf[1], TOKEN_A);
	must(t, "second-vf", second);
	see(t, "three", fn_try(t, BY_GROUP, &s.pf, NULL), -EACCES);
	fn_close(&s.vf[0], (int)first);
	see(t, "two", fn_try(t, BY_GROUP, &s.pf, NULL), -EACCES);
	fn_close(&s.vf[0], (int)again);
	see(t, "one", fn_try(t, BY_GROUP, &s.pf, NULL), -EACCES);
	fn_close(&s.vf[1], (int)second);
	see(t, "no-user", fn_try(t, BY_GROUP, &s.pf, NULL), 0);
}

/* A failed open is no user. */
static void failed_open(struct t *t)
{
	const enum way way = way_of(t);
	struct sriov s;

	with_token(t, &s, 1);
	see(t, "wrong", fn_try(t, way, &s.vf[0], TOKEN_B), -EACCES);
	see(t, "none", fn_try(t, way, &s.vf[0], NULL), -EACCES);
	see(t, "pf", fn_try(t, way, &s.pf, NULL), 0);
}

/* Nor one that was killed. */
static void killed(struct t *t)
{
	const enum way way = way_of(t);
	struct sriov s;
	int ready[2];
	char byte;
	pid_t pid;
	long rc;

	with_token(t, &s, 1);
	if (way == BY_GROUP)
		need_own_groups(t, &s);
	must(t, "pipe", sys(pipe(ready)));
	pid = fork();
	must(t, "fork", pid);
	if (!pid) {
		t->container = -1;
		if (fn_open(t, way, &s.vf[0], TOKEN_A) >= 0 && write(ready[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	see(t, "opened", read(ready[0], &byte, 1), 1);
	see(t, "pf-meanwhile", fn_try(t, way, &s.pf, NULL), -EACCES);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	/* At once on a kernel, a moment later here (docs/differences.md). */
	while ((rc = fn_try(t, way, &s.pf, NULL)) == -EACCES)
		;
	see(t, "pf", rc, 0);
}

/* A VF is the PF's by how it was when the VF was bound: not VFIO's PF, no token. */
static void other_pf_driver(struct t *t)
{
	struct sriov s;
	long vf;

	sriov_ready(t, &s, PF_STUB, 1);
	need_own_groups(t, &s);
	vf = fn_open(t, BY_GROUP, &s.vf[0], NULL);
	see(t, "vf", vf < 0 ? vf : 0, 0);
	/* The stub leaves them behind, and vfio-pci takes no PF that has VFs. */
	see(t, "unbind-pf", fn_unbind(s.pf.bdf), 0);
	see(t, "vfs", fn_number(s.pf.bdf, "sriov_numvfs"), 1);
	see(t, "bind-pf", fn_bind(s.pf.bdf, "vfio-pci"), -EBUSY);
	if (vf >= 0)
		fn_close(&s.vf[0], (int)vf);
	see(t, "vf-again", fn_try(t, BY_GROUP, &s.vf[0], NULL), 0);
	see(t, "vf-given", fn_try(t, BY_GROUP, &s.vf[0], TOKEN_A), -EINVAL);
	see(t, "bind-stub", fn_bind(s.pf.bdf, "pci-pf-stub"), 0);
	see(t, "off", sriov_set(&s, 0), 0);
	see(t, "unbind-pf", fn_unbind(s.pf.bdf), 0);
	see(t, "bind-pf", fn_bind(s.pf.bdf, "vfio-pci"), 0);
}

static const enum way by_group = BY_GROUP, by_node = BY_NODE;
#define BOTH(n, run)                                                                               \
	{"C.3/group/" n, OPEN_NOTHING, NEED_IOMMU, run, &by_group},                                \
	{                                                                                          \
		"C.3/node/" n, OPEN_NOTHING, NEED_IOMMUFD, run, &by_node                           \
	}

static const struct rule rules[] = {
	BOTH("opens", opens),
	BOTH("vfs-off-and-on", disabled),
	BOTH("pf-bound-anew", pf_rebound),
	BOTH("vf-bound-anew", vf_rebound),
	BOTH("pf-closed", pf_closed),
	{"C.3/group/users", OPEN_NOTHING, NEED_IOMMU, users, &by_group},
	BOTH("failed-open", failed_open),
	BOTH("killed", killed),
	{"C.3/pf-of-other-driver", OPEN_NOTHING, NEED_IOMMU, other_pf_driver, &by_group},
};
const struct section section_c3 = SECTION("C.3", rules);
