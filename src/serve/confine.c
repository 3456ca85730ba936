/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "block/rings.h"
#include "serve/confine.h"
#include "serve/filter.h"

/* ---- identity ---- */

int serve_identity_find(const char *name, struct serve_identity *id, struct uvfio_error *err)
{
	const struct passwd *pw = getpwnam(name);
	char *end;

	*id = (struct serve_identity){0};
	if (!pw) {
		unsigned long uid = strtoul(name, &end, 10);

		if (*name && !*end && uid < (uid_t)-1)
			pw = getpwuid((uid_t)uid);
	}
	if (!pw)
		return uvfio_error_set(err, -EINVAL, "--user %s: there is no such user", name);
	id->uid = pw->pw_uid;
	id->gid = pw->pw_gid;
	if (geteuid() != 0 && geteuid() != id->uid)
		return uvfio_error_set(err, -EPERM,
				       "--user %s: only root can become another user; start uvfio "
				       "as root, or as %s without --user",
				       name, name);
	getgrouplist(pw->pw_name, pw->pw_gid, NULL, &id->nr_groups);
	id->groups = calloc((size_t)id->nr_groups + 1, sizeof(*id->groups));
	if (!id->groups)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	if (getgrouplist(pw->pw_name, pw->pw_gid, id->groups, &id->nr_groups) < 0)
		id->nr_groups = 0;
	return 0;
}

void serve_identity_fini(struct serve_identity *id)
{
	free(id->groups);
	id->groups = NULL;
}

static int become(const struct serve_identity *id, struct uvfio_error *err)
{
	if (geteuid() == id->uid && geteuid() != 0)
		return 0;
	if (setgroups((size_t)id->nr_groups, id->groups) || setresgid(id->gid, id->gid, id->gid) ||
	    setresuid(id->uid, id->uid, id->uid))
		return uvfio_error_set(err, -errno, "cannot become the user %u: %s", id->uid,
				       strerror(errno));
	return 0;
}

static int drop_capabilities(struct uvfio_error *err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}};

	/* Fails without CAP_SETPCAP, and is not needed then. */
	for (int cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
		;
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &header, none))
		return uvfio_error_set(err, -errno, "cannot give up capabilities: %s",
				       strerror(errno));
	return 0;
}

/* ---- Landlock ---- */

/*
 * What is restricted, by the version of Landlock: all that it knows.  (A right that the kernel does
 * not know is EINVAL.)  Later versions bring more, which is not asked for before somebody has
 * looked whether it does harm here.
 */
static const struct {
	uint8_t fs_rights; /* bits, from the first on */
	uint8_t size;      /* of the kernel's structure */
	bool net, scoped;
} landlock_abis[] = {
	{13, 8, false, false},
	{14, 8, false, false}, /* linking and renaming to another directory */
	{15, 8, false, false}, /* truncating */
	{15, 16, true, false}, /* TCP */
	{16, 16, true, false}, /* ioctl() of devices */
	{16, 24, true, true},  /* abstract sockets, signals */
};

size_t serve_landlock_rules(long abi, struct serve_landlock *rules)
{
	const long known = sizeof(landlock_abis) / sizeof(*landlock_abis);

	*rules = (struct serve_landlock){0};
	if (abi <= 0)
		return 0;
	if (abi > known)
		abi = known;
	rules->fs = (1ull << landlock_abis[abi - 1].fs_rights) - 1;
	if (landlock_abis[abi - 1].net)
		rules->net = 3; /* bind, connect */
	if (landlock_abis[abi - 1].scoped)
		rules->scoped = 3; /* abstract sockets, signals */
	return landlock_abis[abi - 1].size;
}

static int restrict_paths(bool *landlock, struct uvfio_error *err)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct serve_landlock rules;
	size_t size = serve_landlock_rules(abi, &rules);
	int fd, ret = 0;

	*landlock = size;
	if (!size)
		return 0; /* not built in, or not switched on */
	fd = (int)syscall(SYS_landlock_create_ruleset, &rules, size, 0);
	if (fd < 0 || syscall(SYS_landlock_restrict_self, fd, 0))
		ret = uvfio_error_set(err, -errno, "cannot confine with Landlock: %s",
				      strerror(errno));
	if (fd >= 0)
		close(fd);
	return ret;
}

int serve_confine(const struct serve_identity *id, const struct block_rings *rings, bool *landlock,
		  struct uvfio_error *err)
{
	unsigned first_ring = 0, nr_rings = 0;
	int ret = id ? become(id, err) : 0;

	if (rings)
		block_rings_fds(rings, &first_ring, &nr_rings);
	if (!ret)
		ret = drop_capabilities(err);
	/* After the change of user, which takes it away again. */
	if (!ret && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
		ret = uvfio_error_set(err, -errno, "cannot end with the parent: %s",
				      strerror(errno));
	if (!ret && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		ret = uvfio_error_set(err, -errno, "cannot set no_new_privs: %s", strerror(errno));
	if (!ret)
		ret = restrict_paths(landlock, err);
	return ret ? ret : serve_filter(first_ring, nr_rings, err);
}
