/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * C: from a fork of the server to the program.
 *
 *   S sends TREE ─▶ namespaces ─MAP_ME▶ S writes the maps ─MAPPED▶ mounts
 *   ─IOMMUDIR, DEVDIR, NODES, SYSDIR, MIG_…, SANDBOX▶ S says what to trap ─FILTER▶ filter
 * ─LISTENER▶ S is ready ─GO▶ execvp
 *
 * Where there are no namespaces or no mounts to be had, SANDBOX says so, and what takes a path is
 * trapped in their place (shadow.h).
 *
 * Before GO nothing of the program has happened, so a run that cannot start leaves no trace.  What
 * the program inherits (fds, signal mask and dispositions, limits, working directory, process
 * group) is what P0 was given.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "sysfs/sysfs.h"
#include "uapi/child.h"
#include "uapi/filter.h"
#include "uapi/helper/trap.h"
#include "uapi/message.h"
#include "uapi/mounts.h"
#include "uapi/process.h"
#include "uapi/server.h"

static _Noreturn void fail(const char *message)
{
	fprintf(stderr, "uvfio run: %s\n", message);
	fflush(stderr);
	_exit(UAPI_EXIT_FAILURE);
}

/* The server has gone, or gave up: it has said why. */
static void expect(int sock, enum uapi_message_kind kind, int32_t *value, int *fd)
{
	if (uapi_expect(sock, kind, value, fd))
		_exit(UAPI_EXIT_FAILURE);
}

static void tell(int sock, enum uapi_message_kind kind, int32_t value, int fd)
{
	if (uapi_send(sock, kind, value, fd))
		_exit(UAPI_EXIT_FAILURE);
}

bool uapi_has_caps(unsigned long long caps)
{
	struct __user_cap_header_struct hdr = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {0};

	if (syscall(SYS_capget, &hdr, data))
		return false;
	return (((unsigned long long)data[1].effective << 32 | data[0].effective) & caps) == caps;
}

static bool may_do_without(const struct uapi_config *config)
{
	return config->sandbox == UAPI_SANDBOX_AUTO && config->sys != UAPI_SYS_ON;
}

/* A mount namespace of our own, in a user namespace of our own where that takes one.  0, or errno
 * when it is refused and we may do without. */
static int enter_namespaces(const struct uapi_config *config, int sock)
{
	char line[32];
	int32_t code;

	/* With SYS_PTRACE the server also reaches programs that change their user. */
	if (uapi_has_caps(1ull << CAP_SYS_ADMIN | 1ull << CAP_SYS_PTRACE) && !unshare(CLONE_NEWNS))
		return 0;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS)) {
		int e = errno;

		if (may_do_without(config))
			return e;
		fprintf(stderr,
			"uvfio run: cannot make a user and a mount namespace: %s\n"
			"  They give the program its /dev/vfio; as an ordinary user both are needed, with "
			"CAP_SYS_ADMIN and CAP_SYS_PTRACE a mount namespace alone.\n",
			strerror(e));
		if (uapi_read_line("/proc/sys/user/max_user_namespaces", line, sizeof(line)) &&
		    !strcmp(line, "0"))
			fprintf(stderr, "  User namespaces are switched off here: sysctl "
					"user.max_user_namespaces=10000\n");
		if (uapi_read_line("/proc/sys/kernel/unprivileged_userns_clone", line,
				   sizeof(line)) &&
		    !strcmp(line, "0"))
			fprintf(stderr, "  Only root may make them here: sysctl "
					"kernel.unprivileged_userns_clone=1\n");
		fail("`uvfio doctor` says what this machine allows (in Docker: --cap-add SYS_ADMIN "
		     "--cap-add SYS_PTRACE --security-opt seccomp=unconfined --security-opt "
		     "apparmor=unconfined)");
	}
	tell(sock, UAPI_MSG_MAP_ME, 0, -1);
	expect(sock, UAPI_MSG_MAPPED, &code, NULL);
	if (code) {
		fprintf(stderr, "uvfio run: cannot map the user into the new user namespace: %s\n",
			strerror(code));
		fail("`uvfio doctor` says what this machine allows");
	}
	/* Privileges cannot be had in there anyway, and the filter asks for it. */
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return 0;
}

/* Offer S a /sys of its own; what it makes of that takes the place of *@tree. */
static bool serve_sys(const struct uapi_config *config, int sock, int *tree)
{
	bool wanted = config->sys != UAPI_SYS_OFF && sysfs_built();
	int fuse = wanted ? uapi_mounts_fuse() : -ENOTSUP;
	int served;

	tell(sock, UAPI_MSG_FUSE, fuse < 0 ? -fuse : 0, fuse);
	if (fuse >= 0)
		close(fuse);
	expect(sock, UAPI_MSG_SERVED, NULL, &served);
	if (served < 0) {
		if (fuse >= 0)
			uapi_mounts_no_fuse();
		return false;
	}
	close(*tree);
	*tree = served;
	return true;
}

/* 0, or errno when that is refused and we may do without: then nothing is mounted. */
static int make_mounts(const struct uapi_config *config, int sock, int tree,
		       struct uapi_covered *covered)
{
	struct uvfio_error err;
	char line[32];
	int ret = uapi_mounts_begin(&err);

	if (ret && may_do_without(config))
		return -ret;
	if (!ret) {
		bool served = serve_sys(config, sock, &tree);

		ret = uapi_mounts_make(tree, served, covered, &err);
		close(tree);
		if (!ret)
			return 0;
	}
	fprintf(stderr, "uvfio run: %s\n", err.msg);
	if (uapi_read_line("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", line,
			   sizeof(line)) &&
	    !strcmp(line, "1"))
		fprintf(stderr,
			"  AppArmor restricts user namespaces here (Ubuntu 24.04): sysctl "
			"kernel.apparmor_restrict_unprivileged_userns=0, or a profile for uvfio "
			"that allows userns.\n");
	fail("`uvfio doctor` says what this machine allows");
}

/* The helper is preloaded in front of what the user preloads. */
static void preload(enum vfio_mmio_mode mode, const char *helper)
{
	const char *old = getenv("LD_PRELOAD");
	char *value;

	setenv(UVFIO_ENV_MMIO,
	       mode == VFIO_MMIO_EXACT    ? "exact"
	       : mode == VFIO_MMIO_POLLED ? "polled"
					  : "none",
	       1);
	if (!helper)
		return;
	if (asprintf(&value, "%s%s%s", helper, old && *old ? ":" : "", old ? old : "") < 0)
		fail("out of memory");
	setenv("LD_PRELOAD", value, 1);
	free(value);
}

bool uapi_find_helper(char *path, size_t size)
{
	static const char *const places[] = {
		"src/uapi/helper/" UAPI_HELPER_NAME, /* in the build tree */
		"../" UAPI_LIBDIR "/uvfio/" UAPI_HELPER_NAME,
	};
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return false;
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	for (unsigned i = 0; i < sizeof(places) / sizeof(*places); i++) {
		char candidate[2 * PATH_MAX], *real;
		bool fits;

		snprintf(candidate, sizeof(candidate), "%s/%s", self, places[i]);
		real = realpath(candidate, NULL);
		if (!real)
			continue;
		fits = strlen(real) < size;
		if (fits)
			strcpy(path, real);
		free(real);
		return fits;
	}
	return false;
}

/*
 * Does any folder of PATH have @name?  execvp says EACCES also when there is none, but a folder of
 * PATH may not be searched: then @closed is that folder's name.
 */
static bool in_path(const char *name, char *closed, size_t size)
{
	const char *path = getenv("PATH"), *end;
	char candidate[PATH_MAX];

	*closed = '\0';
	for (; path; path = *end ? end + 1 : NULL) {
		int len;

		end = strchrnul(path, ':');
		len = (int)(end - path);
		if (snprintf(candidate, sizeof(candidate), "%.*s%s%s", len, path, len ? "/" : "",
			     name) >= (int)sizeof(candidate))
			continue;
		if (!faccessat(AT_FDCWD, candidate, F_OK, AT_EACCESS))
			return true;
		if (errno == EACCES && !*closed)
			snprintf(closed, size, "%.*s", len, path);
	}
	return false;
}

/* 127: there is no such program; 126: there is, and it cannot be executed.  As shells do. */
static _Noreturn void become(char **argv, const sigset_t *mask)
{
	char closed[PATH_MAX];
	int e;

	sigprocmask(SIG_SETMASK, mask, NULL);
	execvp(argv[0], argv);
	e = errno;
	if (e == EACCES && !strchr(argv[0], '/') && !in_path(argv[0], closed, sizeof(closed))) {
		e = ENOENT;
		fprintf(stderr,
			"uvfio run: cannot execute '%s': not found, and the folder %s of PATH may not "
			"be searched: %s\n",
			argv[0], closed, strerror(EACCES));
	} else {
		fprintf(stderr, "uvfio run: cannot execute '%s': %s\n", argv[0],
			e == ENOENT ? "not found" : strerror(e));
	}
	fflush(stderr);
	_exit(e == ENOENT ? 127 : 126);
}

/* Files of migration data: S goes without when there is no FUSE to be had. */
static void offer_migration(int sock)
{
	int mount, fuse = sysfs_built() ? uapi_mounts_unseen_fuse(&mount) : -ENOTSUP;

	if (fuse < 0)
		return;
	tell(sock, UAPI_MSG_MIG_FUSE, 0, fuse);
	close(fuse);
	tell(sock, UAPI_MSG_MIG_MOUNT, 0, mount);
	close(mount);
}

/* Show S where the mounts are. */
static void show_mounts(int sock, const struct uapi_covered *covered)
{
	char cwd[PATH_MAX];
	int devdir, sysdir;

	/* A working directory that has been covered is looked up anew. */
	if (getcwd(cwd, sizeof(cwd)) && (!strncmp(cwd, "/dev", 4) || !strncmp(cwd, "/sys", 4)))
		(void)!chdir(cwd);
	devdir = open(TREE_DEV_VFIO, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (devdir < 0)
		fail("cannot open the new " TREE_DEV_VFIO);
	tell(sock, UAPI_MSG_IOMMUDIR, 0, covered->dev);
	close(covered->dev);
	tell(sock, UAPI_MSG_DEVDIR, 0, covered->vfio);
	close(covered->vfio);
	tell(sock, UAPI_MSG_NODES, 0, devdir);
	close(devdir);
	sysdir = open("/sys/bus/pci/devices", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (sysdir < 0)
		fail("cannot open the new /sys/bus/pci/devices");
	tell(sock, UAPI_MSG_SYSDIR, 0, sysdir);
	close(sysdir);
}

_Noreturn void uapi_child_main(const struct uapi_config *config, int sock, const sigset_t *mask)
{
	char helper[PATH_MAX];
	struct uvfio_error err;
	int32_t with_helper, what;
	int tree, listener, refused = ENOTSUP;
	struct uapi_covered covered;

	expect(sock, UAPI_MSG_TREE, &with_helper, &tree);
	/* In a chroot, the link to our executable reads right only before. */
	if (with_helper && !uapi_find_helper(helper, sizeof(helper)))
		fail("the helper " UAPI_HELPER_NAME " has gone");
	if (config->sandbox != UAPI_SANDBOX_PATHS) {
		refused = enter_namespaces(config, sock);
		if (!refused)
			refused = make_mounts(config, sock, tree, &covered);
	}
	if (!refused) {
		show_mounts(sock, &covered);
		offer_migration(sock);
	} else {
		close(tree);
	}
	tell(sock, UAPI_MSG_SANDBOX, refused, -1);
	expect(sock, UAPI_MSG_FILTER, &what, NULL);
	preload(config->mmio, with_helper ? helper : NULL);
	if (refused && !uapi_has_caps(1ull << CAP_SYS_ADMIN))
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	/* From here to the end of the wait for GO, no call may take a path: nobody answers it. */
	listener = uapi_filter_install((unsigned)what, &err);
	if (listener < 0)
		fail(err.msg);
	tell(sock, UAPI_MSG_LISTENER, 0, listener);
	close(listener);
	expect(sock, UAPI_MSG_GO, NULL, NULL);
	become(config->argv, mask);
}
