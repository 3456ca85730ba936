/* SPDX-License-Identifier: BSD-3-Clause */
/* src/uapi/walk.c and shadow.c: where the paths of a program without mounts lead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "uapi/shadow.h"
#include "uapi/task.h"
#include "uapi/walk.h"

struct world {
	struct uapi_server server;
	char dir[PATH_MAX]; /* the machine's, with MERGED and links of its own */
	int cwd;
};

static void record(int fd, enum tree_kind kind, const char *base, const char *name,
		   const char *data)
{
	char path[PATH_MAX], buf[2 * PATH_MAX] = {0};
	struct tree_record rec = {.kind = kind, .mode = kind == TREE_FILE ? 0444 : 0755};
	size_t size;

	snprintf(path, sizeof(path), "%s%s", base, name);
	rec.path_len = (uint32_t)strlen(path);
	rec.data_len = (uint32_t)strlen(data);
	size = TREE_RECORD_SIZE(rec.path_len, rec.data_len);
	memcpy(buf, &rec, sizeof(rec));
	strcpy(buf + sizeof(rec), path);
	strcpy(buf + sizeof(rec) + rec.path_len + 1, data);
	assert_int_equal(write(fd, buf, size), size);
}

static void link_to(struct world *w, const char *name, const char *target)
{
	char path[2 * PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", w->dir, name);
	assert_int_equal(symlink(target, path), 0);
}

/* In DIR, which the machine has: ours/ with a file, a directory and links; and the machine's file
 * and links, some of which lead to ours. */
static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct uvfio_error err;
	char path[2 * PATH_MAX];
	int fd = memfd_create("tree", MFD_CLOEXEC);

	strcpy(w->dir, "/tmp/walk-test-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	record(fd, TREE_CLAIM, w->dir, "/ours", "");
	record(fd, TREE_FILE, w->dir, "/ours/file", "hello");
	record(fd, TREE_DIR, w->dir, "/ours/sub", "");
	record(fd, TREE_FILE, w->dir, "/ours/sub/deep", "");
	record(fd, TREE_LINK, w->dir, "/ours/in", "sub/deep");
	record(fd, TREE_LINK, w->dir, "/ours/out", "../theirs");
	record(fd, TREE_LINK, w->dir, "/ours/loop", "loop");
	record(fd, TREE_CLAIM, w->dir, "/made/up", "");
	record(fd, TREE_CLAIM, "/sys/bus/pci/devices", "/fffe:00:00.0", "");
	w->server.shadow = uapi_shadow_new(fd, &err);
	assert_non_null(w->server.shadow);
	close(fd);
	w->server.tasks = uapi_tasks_new();
	snprintf(path, sizeof(path), "%s/theirs", w->dir);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	close(fd);
	link_to(w, "to-ours", "ours/sub");
	link_to(w, "to-file", "ours/file");
	link_to(w, "over", "to-ours/../in");
	w->cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	char command[PATH_MAX + 16];

	assert_int_equal(fchdir(w->cwd), 0);
	close(w->cwd);
	uapi_shadow_free(w->server.shadow);
	uapi_tasks_free(w->server.tasks);
	snprintf(command, sizeof(command), "rm -r %s", w->dir);
	assert_int_equal(system(command), 0);
	free(w);
	return 0;
}

/* Walk DIR/@path; @want of the rest: the path that it is, behind DIR. */
static void leads(struct world *w, const char *path, bool nofollow, int ret, const char *want)
{
	char full[2 * PATH_MAX], expected[2 * PATH_MAX];
	struct walk walk;

	snprintf(full, sizeof(full), "%s%s", w->dir, path);
	snprintf(expected, sizeof(expected), "%s%s", w->dir, want ? want : "");
	assert_int_equal(uapi_walk(&w->server, gettid(), AT_FDCWD, full, nofollow, 0, &walk), ret);
	if (want)
		assert_string_equal(walk.path, expected);
}

static void absolute_paths(void **state)
{
	struct world *w = *state;
	static const struct {
		const char *path;
		bool nofollow;
		int ret;
		const char *want;
	} rows[] = {
		{"/ours", false, 1, "/ours"},
		{"/ours/", false, 1, "/ours"},
		{"//ours/./file", false, 1, "/ours/file"},
		{"/ours/file/", false, -ENOTDIR, NULL},
		{"/ours/file/x", false, -ENOTDIR, NULL},
		{"/ours/nothing", false, -ENOENT, NULL},
		{"/ours/nothing/..", false, -ENOENT, NULL},
		{"/ours/in", false, 1, "/ours/sub/deep"},
		{"/ours/in", true, 1, "/ours/in"},
		{"/ours/sub/../file", false, 1, "/ours/file"},
		{"/ours/../ours/file", false, 1, "/ours/file"},
		{"/ours/loop", false, -ELOOP, NULL},
		{"/ours/loop", true, 1, "/ours/loop"},
		{"/ours/out", false, 0, "/theirs"},
		{"/ours/out", true, 1, "/ours/out"},
		{"/theirs", false, 0, "/theirs"},
		{"/theirs/../ours", false, 0, NULL},
		{"/ours/file/../sub", false, -ENOTDIR, NULL},
		{"/nothing/../ours", false, 0, NULL},
		{"/nothing", false, 0, NULL},
		{"/to-ours", false, 1, "/ours/sub"},
		{"/to-ours", true, 0, "/to-ours"},
		{"/to-ours/", true, 1, "/ours/sub"},
		{"/to-ours/deep", false, 1, "/ours/sub/deep"},
		{"/to-file", false, 1, "/ours/file"},
		{"/over", false, 1, "/ours/sub/deep"},
		{"/over", true, 0, "/over"},
		{"/made", false, 1, "/made"},
		{"/made/up", false, 1, "/made/up"},
		{"/made/off", false, -ENOENT, NULL},
		{"", false, 0, ""}, /* leads to ours, and is the machine's */
		{"/..", false, 0, NULL},
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		leads(w, rows[i].path, rows[i].nofollow, rows[i].ret, rows[i].want);
}

static int walk_at(struct world *w, int dirfd, const char *path, uint64_t resolve,
		   struct walk *walk)
{
	return uapi_walk(&w->server, gettid(), dirfd, path, false, resolve, walk);
}

static void relative_paths(void **state)
{
	struct world *w = *state;
	struct walk walk;
	char want[2 * PATH_MAX], ours[2 * PATH_MAX];
	int dir = open(w->dir, O_PATH | O_DIRECTORY | O_CLOEXEC), inside;

	snprintf(want, sizeof(want), "%s/ours/file", w->dir);
	snprintf(ours, sizeof(ours), "%s/ours", w->dir);
	assert_int_equal(walk_at(w, dir, "ours/file", 0, &walk), 1);
	assert_string_equal(walk.path, want);
	assert_int_equal(walk_at(w, dir, "theirs", 0, &walk), 0);
	assert_false(walk.left);
	assert_int_equal(walk_at(w, 4711, "ours", 0, &walk), 0);
	/* From a directory of ours, as the program gets it: by the names that it knows. */
	inside = uapi_shadow_open(w->server.shadow, ours, O_DIRECTORY);
	assert_true(inside >= 0);
	assert_int_equal(walk_at(w, inside, "file", 0, &walk), 1);
	assert_string_equal(walk.path, want);
	assert_int_equal(walk_at(w, inside, "../theirs", 0, &walk), 0);
	assert_true(walk.left);
	assert_int_equal(walk_at(w, inside, "nothing", 0, &walk), -ENOENT);
	/* And by the working directory. */
	assert_int_equal(fchdir(inside), 0);
	assert_int_equal(walk_at(w, AT_FDCWD, "sub/../file", 0, &walk), 1);
	assert_string_equal(walk.path, want);
	assert_int_equal(fchdir(w->cwd), 0);
	/* openat2 */
	assert_int_equal(walk_at(w, dir, "ours/file", RESOLVE_BENEATH, &walk), 1);
	assert_int_equal(walk_at(w, inside, "../ours", RESOLVE_BENEATH, &walk), -EXDEV);
	assert_int_equal(walk_at(w, inside, "../file", RESOLVE_IN_ROOT, &walk), 1);
	assert_string_equal(walk.path, want);
	assert_int_equal(walk_at(w, dir, "/ours/file", RESOLVE_IN_ROOT, &walk), 1);
	assert_int_equal(walk_at(w, dir, want, RESOLVE_BENEATH, &walk), -EXDEV);
	assert_int_equal(walk_at(w, dir, "to-file", RESOLVE_NO_SYMLINKS, &walk), -ELOOP);
	assert_int_equal(walk_at(w, dir, "ours/in", RESOLVE_NO_SYMLINKS, &walk), -ELOOP);
	assert_int_equal(walk_at(w, dir, "ours/in", RESOLVE_NO_MAGICLINKS, &walk), 1);
	close(inside);
	close(dir);
}

static void links_of_proc(void **state)
{
	struct world *w = *state;
	struct walk walk;
	char path[3 * PATH_MAX], want[2 * PATH_MAX], ours[2 * PATH_MAX];
	int inside;

	snprintf(ours, sizeof(ours), "%s/ours", w->dir);
	snprintf(want, sizeof(want), "%s/ours/file", w->dir);
	inside = uapi_shadow_open(w->server.shadow, ours, O_DIRECTORY);
	snprintf(path, sizeof(path), "/proc/self/fd/%d/file", inside);
	assert_int_equal(walk_at(w, AT_FDCWD, path, 0, &walk), 1);
	assert_string_equal(walk.path, want);
	snprintf(path, sizeof(path), "/proc/thread-self/fd/%d/file", inside);
	assert_int_equal(walk_at(w, AT_FDCWD, path, 0, &walk), 1);
	assert_int_equal(walk_at(w, AT_FDCWD, path, RESOLVE_NO_MAGICLINKS, &walk), -ELOOP);
	snprintf(path, sizeof(path), "/proc/self/root%s", want);
	assert_int_equal(walk_at(w, AT_FDCWD, path, 0, &walk), 1);
	assert_string_equal(walk.path, want);
	/* Itself: the kernel's link, of this process and by its number. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", inside);
	assert_int_equal(uapi_walk(&w->server, gettid(), AT_FDCWD, path, true, 0, &walk), 0);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), inside);
	assert_string_equal(walk.path, path);
	close(inside);
}

static void hostile_paths(void **state)
{
	struct world *w = *state;
	struct walk walk;
	char path[PATH_MAX];
	size_t len;

	/* Names and paths without end. */
	memset(path, 'a', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	assert_true(walk_at(w, AT_FDCWD, path, 0, &walk) <= 0);
	for (size_t i = 1; i < sizeof(path) - 3; i += 3)
		memcpy(path + i, "../", 3);
	assert_true(walk_at(w, AT_FDCWD, path, 0, &walk) <= 0);
	/* A link in front of as long a path as there may be. */
	len = (size_t)snprintf(path, sizeof(path), "%s/over", w->dir);
	while (len < sizeof(path) - 3) {
		memcpy(path + len, "/.", 3);
		len += 2;
	}
	assert_int_equal(walk_at(w, AT_FDCWD, path, 0, &walk), -ENOTDIR);
	/* Each name here may be walked up to the last. */
	memset(path, '/', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(walk_at(w, AT_FDCWD, path, 0, &walk), 0);
}

static void listing(void **state)
{
	struct world *w = *state;
	int fd = uapi_shadow_open(w->server.shadow, "/sys/bus/pci/devices", O_DIRECTORY);
	unsigned ours = 0, theirs = 0, real = 0;
	struct dirent *entry;
	struct stat st;
	DIR *dir = fdopendir(fd);

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		ours += !strcmp(entry->d_name, "fffe:00:00.0");
		theirs += *entry->d_name != '.';
		if (*entry->d_name != '.' && strcmp(entry->d_name, "fffe:00:00.0"))
			assert_int_equal(fstatat(fd, entry->d_name, &st, 0), 0);
	}
	closedir(dir);
	dir = opendir("/sys/bus/pci/devices");
	while (dir && (entry = readdir(dir)))
		real += *entry->d_name != '.';
	if (dir)
		closedir(dir);
	assert_int_equal(ours, 1);
	assert_int_equal(theirs, real + 1);
}

/* Whoever has the program's rights can change these files: nothing is followed out of them. */
static void changed_files(void **state)
{
	struct world *w = *state;
	char ours[2 * PATH_MAX], file[2 * PATH_MAX], link[64], host[PATH_MAX];
	int fd;
	ssize_t n;

	snprintf(ours, sizeof(ours), "%s/ours", w->dir);
	snprintf(file, sizeof(file), "%s/ours/file", w->dir);
	fd = uapi_shadow_open(w->server.shadow, ours, O_DIRECTORY);
	assert_int_equal(unlinkat(fd, "file", 0), 0);
	assert_int_equal(symlinkat("/etc/passwd", fd, "file"), 0);
	assert_int_equal(uapi_shadow_open(w->server.shadow, file, O_RDONLY), -ELOOP);
	assert_int_equal(unlinkat(fd, "file", 0), 0);
	assert_int_equal(mkfifoat(fd, "file", 0600), 0);
	assert_int_equal(uapi_shadow_open(w->server.shadow, file, O_RDONLY), -ENOENT);
	/* All of it goes, whatever it has become. */
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, host, sizeof(host) - 1);
	assert_true(n > 0);
	host[n] = '\0';
	assert_string_equal(uapi_shadow_inside(w->server.shadow, host), ours);
	uapi_shadow_free(w->server.shadow);
	w->server.shadow = NULL;
	assert_int_equal(access(host, F_OK), -1);
	close(fd);
}

/* What the program is given with our rights. */
static void machines_files(void **state)
{
	struct world *w = *state;
	char path[2 * PATH_MAX];

	assert_true(uapi_walk_is_public("/sys"));
	assert_true(uapi_walk_is_public("/sys/bus/pci"));
	snprintf(path, sizeof(path), "%s/theirs", w->dir);
	assert_false(uapi_walk_is_public(path)); /* which all may read, in a directory of 0700 */
	assert_int_equal(chmod(w->dir, 0711), 0);
	assert_true(uapi_walk_is_public(path));
	assert_int_equal(chmod(w->dir, 0700), 0);
	assert_false(uapi_walk_is_public("/sys/none/here"));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(absolute_paths), TEST(relative_paths), TEST(links_of_proc),
		TEST(hostile_paths),  TEST(listing),        TEST(changed_files),
		TEST(machines_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
