/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The program's view of /dev and /sys.
 *
 * Theory of operation.  Neither file system lets us add names, so a directory that must get a new
 * entry is covered by a tmpfs, in which each old entry is bound (directories and files) or made
 * anew (symbolic links, which in /sys are relative and so lead where they led).  Overlayfs would
 * need one mount, but cannot be had in a user namespace over sysfs and not with device nodes over
 * devtmpfs. Everything is in a mount namespace of its own and goes with the last process in it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include "uapi/mounts.h"

/* Thousands of functions have some sixty files each, most of which are alike. */
#define TMPFS_OPTIONS "mode=755,nr_inodes=1048576,size=256m"
#define ALIKE         4096u

struct made {
	const struct tree_record *rec;
	char path[];
};

struct mounts {
	void *ours; /* directories that lie in a tmpfs of ours and may get entries: tsearch(3) */
	struct made *alike[ALIKE];   /* files that were made, one of each that are alike */
	struct uapi_covered covered; /* by TREE_MOUNT, and by TREE_NODE */
	struct uvfio_error *err;
};

static int failed(struct mounts *m, const char *what, const char *path)
{
	int code = -errno;

	return uvfio_error_set(m->err, code, "cannot %s %s: %s", what, path, strerror(-code));
}

static int compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

static bool is_ours(const struct mounts *m, const char *path)
{
	return tfind(path, &m->ours, compare);
}

static int set_ours(struct mounts *m, const char *path)
{
	char *copy;

	if (is_ours(m, path))
		return 0;
	copy = strdup(path);
	if (!copy || !tsearch(copy, &m->ours, compare)) {
		free(copy);
		return -ENOMEM;
	}
	return 0;
}

static int mount_tmpfs(struct mounts *m, const char *path)
{
	if (mount("uvfio", path, "tmpfs", MS_NOSUID | MS_NOEXEC, TMPFS_OPTIONS))
		return failed(m, "mount a tmpfs on", path);
	return set_ours(m, path);
}

/* Give the covering tmpfs at @path the entry @name of the directory @old that it covers.  What
 * cannot be had (a name that went away, a mount that may not be bound) is left out. */
static void keep_entry(int old, int new, const char *name, unsigned char type)
{
	char target[PATH_MAX];
	struct stat st;
	ssize_t n;
	int tree, fd;

	if (type == DT_UNKNOWN && !fstatat(old, name, &st, AT_SYMLINK_NOFOLLOW))
		type = IFTODT(st.st_mode);
	if (type == DT_LNK) {
		n = readlinkat(old, name, target, sizeof(target) - 1);
		if (n < 0)
			return;
		target[n] = '\0';
		(void)!symlinkat(target, new, name);
		return;
	}
	tree = open_tree(old, name,
			 OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW);
	if (tree < 0)
		return;
	if (type == DT_DIR) {
		(void)!mkdirat(new, name, 0755);
	} else {
		fd = openat(new, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
		if (fd >= 0)
			close(fd);
	}
	if (move_mount(tree, "", new, name, MOVE_MOUNT_F_EMPTY_PATH))
		unlinkat(new, name, type == DT_DIR ? AT_REMOVEDIR : 0);
	close(tree);
}

/* Mount a tmpfs on @path and another one over it, *@covered being the first. */
static int mount_over(struct mounts *m, const char *path, int *covered)
{
	int ret = mount_tmpfs(m, path);

	if (ret)
		return ret;
	*covered = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *covered < 0 ? failed(m, "open", path) : mount_tmpfs(m, path);
}

/* Cover @path, so that it may get new entries.  The old ones stay, but for @but, and the user is
 * told.  With *@covered, by mount_over(), silently. */
static int cover(struct mounts *m, const char *path, const char *but, int *covered)
{
	DIR *old = opendir(path);
	struct dirent *entry;
	int new, ret;

	if (!old)
		return failed(m, "read", path);
	ret = covered ? mount_over(m, path, covered) : mount_tmpfs(m, path);
	if (ret) {
		closedir(old);
		return ret;
	}
	new = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (new < 0) {
		ret = failed(m, "open", path);
		closedir(old);
		return ret;
	}
	while ((entry = readdir(old))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (!strcmp(entry->d_name, but)) {
			if (covered)
				continue;
			fprintf(stderr,
				"uvfio run: %s/%s of this machine is hidden from the program by the "
				"device of the same name (choose another with addr= or group=)\n",
				path, but);
			continue;
		}
		keep_entry(dirfd(old), new, entry->d_name, entry->d_type);
	}
	close(new);
	closedir(old);
	return 0;
}

/* Have an empty directory of ours at @path. */
static int claim(struct mounts *m, const char *path, bool own_mount)
{
	char parent[PATH_MAX];
	struct stat st;
	const char *name;
	char *slash;
	int ret;

	if (is_ours(m, path))
		return 0;
	if (!lstat(path, &st) && S_ISDIR(st.st_mode))
		return mount_tmpfs(m, path);
	snprintf(parent, sizeof(parent), "%s", path);
	slash = strrchr(parent, '/');
	*slash = '\0';
	name = slash + 1;
	if (!*parent)
		return uvfio_error_set(m->err, -ENOENT, "there is no %s on this machine", path);
	if (!is_ours(m, parent)) {
		if (!lstat(parent, &st) && S_ISDIR(st.st_mode))
			ret = cover(m, parent, name, NULL);
		else
			ret = claim(m, parent, false);
		if (ret)
			return ret;
	}
	if (mkdir(path, 0755) && errno != EEXIST)
		return failed(m, "make the directory", path);
	return own_mount ? mount_tmpfs(m, path) : set_ours(m, path);
}

/* Contents of a record with a path of any length. */
static const char *contents(const struct tree_record *rec)
{
	return (const char *)(rec + 1) + rec->path_len + 1;
}

static struct made **alike(struct mounts *m, const struct tree_record *rec)
{
	const char *data = contents(rec);
	uint32_t h = rec->mode;

	for (uint32_t i = 0; i < rec->data_len; i++)
		h = (h ^ (unsigned char)data[i]) * 16777619u;
	return &m->alike[h % ALIKE];
}

/* Have the file at @path be one that was made before, with the same contents: what a thousand
 * functions say alike takes no more memory than what one says. */
static bool link_alike(struct mounts *m, const struct tree_record *rec, const char *path)
{
	const struct made *made = *alike(m, rec);

	return made && made->rec->mode == rec->mode && made->rec->data_len == rec->data_len &&
	       !memcmp(contents(made->rec), contents(rec), rec->data_len) &&
	       !link(made->path, path);
}

static void remember(struct mounts *m, const struct tree_record *rec, const char *path)
{
	struct made **slot = alike(m, rec), *made = malloc(sizeof(*made) + strlen(path) + 1);

	if (!made)
		return;
	made->rec = rec;
	strcpy(made->path, path);
	free(*slot);
	*slot = made;
}

/* Is it one that nobody writes?  `config` is kept up to date, and nodes are told apart by inode. */
static bool may_be_alike(const struct tree_record *rec, const char *path)
{
	return !(rec->mode & 0222) && !strncmp(path, "/sys/", 5) && rec->data_len;
}

static int make_file(struct mounts *m, const struct tree_record *rec, const char *path,
		     const void *data)
{
	bool shared = may_be_alike(rec, path);
	ssize_t n;
	int fd;

	if (shared && link_alike(m, rec, path))
		return 0;
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, rec->mode);
	if (fd < 0)
		return failed(m, "make", path);
	n = write(fd, data, rec->data_len);
	if (n >= 0 && n != (ssize_t)rec->data_len) {
		n = -1;
		errno = ENOSPC;
	}
	close(fd);
	if (n >= 0 && shared)
		remember(m, rec, path);
	return n < 0 ? failed(m, "write", path) : 0;
}

/* A file in the place of what the machine has under that name, if anything. */
static int make_node(struct mounts *m, const struct tree_record *rec, const char *path)
{
	char parent[PATH_MAX];
	char *slash;
	int ret;

	snprintf(parent, sizeof(parent), "%s", path);
	slash = strrchr(parent, '/');
	*slash = '\0';
	ret = is_ours(m, parent) ? 0 : cover(m, parent, slash + 1, &m->covered.dev);
	return ret ? ret : make_file(m, rec, path, "");
}

/* Have the mount @tree at @path; @name and parent as claim() does it. */
static int attach(struct mounts *m, int tree, const char *path, bool dir)
{
	char parent[PATH_MAX];
	struct stat st;
	char *slash;
	int fd, ret;

	if (lstat(path, &st)) {
		snprintf(parent, sizeof(parent), "%s", path);
		slash = strrchr(parent, '/');
		*slash = '\0';
		if (!is_ours(m, parent)) {
			ret = !lstat(parent, &st) && S_ISDIR(st.st_mode)
				      ? cover(m, parent, slash + 1, NULL)
				      : claim(m, parent, false);
			if (ret)
				return ret;
		}
		if (dir) {
			if (mkdir(path, 0755))
				return failed(m, "make the directory", path);
		} else {
			fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
			if (fd < 0)
				return failed(m, "make", path);
			close(fd);
		}
	}
	return move_mount(tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH)
		       ? failed(m, "mount on", path)
		       : 0;
}

/* What is opened there must not be what is seen there (files.h): a tmpfs over another one. */
static int mount_twice(struct mounts *m, const char *path)
{
	int ret = claim(m, path, true);

	if (ret)
		return ret;
	m->covered.vfio = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (m->covered.vfio < 0)
		return failed(m, "open", path);
	return mount_tmpfs(m, path);
}

static int make_record(struct mounts *m, const struct tree_record *rec, int tree)
{
	const char *path = (const char *)(rec + 1);
	const char *data = path + rec->path_len + 1;

	switch ((enum tree_kind)rec->kind) {
	case TREE_CLAIM:
		return claim(m, path, false);
	case TREE_MOUNT:
		return mount_twice(m, path);
	case TREE_DIR:
		return mkdir(path, rec->mode) ? failed(m, "make the directory", path) : 0;
	case TREE_FILE:
		return make_file(m, rec, path, data);
	case TREE_NODE:
		return make_node(m, rec, path);
	case TREE_LINK:
		return symlink(data, path) ? failed(m, "make the link", path) : 0;
	case TREE_BIND:
		return attach(m, tree, path, rec->mode == 0755);
	}
	return -EINVAL;
}

int uapi_mounts_begin(struct uvfio_error *err)
{
	struct mounts m = {.err = err};

	/* What the machine mounts later still appears; what is mounted here stays here. */
	if (!mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL))
		return 0;
	if (errno != EINVAL)
		return failed(&m, "make slaves of the mounts at", "/");
	return uvfio_error_set(
		err, -EINVAL,
		"the root directory is not the root of a mount (a chroot into a plain directory), so "
		"that what is mounted here could not be kept from the rest of the machine; make it "
		"one before the chroot: mount --rbind DIRECTORY DIRECTORY");
}

int uapi_mounts_fuse(void)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC), ret;
	char options[160];

	if (fd < 0)
		return -errno;
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40755,user_id=%u,group_id=%u,allow_other,default_permissions", fd,
		 geteuid(), getegid());
	if (!mount("uvfio", "/sys", "fuse", MS_NOSUID | MS_NOEXEC | MS_NODEV, options))
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}

void uapi_mounts_no_fuse(void)
{
	umount2("/sys", MNT_DETACH);
}

int uapi_mounts_unseen_fuse(int *mount)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	int fs = fd < 0 ? -1 : fsopen("fuse", FSOPEN_CLOEXEC);
	char of[16], uid[16], gid[16];
	int ret;

	snprintf(of, sizeof(of), "%d", fd);
	snprintf(uid, sizeof(uid), "%u", geteuid());
	snprintf(gid, sizeof(gid), "%u", getegid());
	if (fs >= 0 && !fsconfig(fs, FSCONFIG_SET_STRING, "source", "uvfio", 0) &&
	    !fsconfig(fs, FSCONFIG_SET_STRING, "fd", of, 0) &&
	    !fsconfig(fs, FSCONFIG_SET_STRING, "rootmode", "40700", 0) &&
	    !fsconfig(fs, FSCONFIG_SET_STRING, "user_id", uid, 0) &&
	    !fsconfig(fs, FSCONFIG_SET_STRING, "group_id", gid, 0) &&
	    !fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		*mount = fsmount(fs, FSMOUNT_CLOEXEC,
				 MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV);
	else
		*mount = -1;
	ret = *mount < 0 ? -errno : fd;
	if (fs >= 0)
		close(fs);
	if (ret < 0 && fd >= 0)
		close(fd);
	return ret;
}

#define MAX_BINDS 300u

/* The mounts of each TREE_BIND, in their order, while /sys is the file system that has them. */
static int open_binds(struct mounts *m, const uint8_t *map, size_t size, int *binds, unsigned *nr)
{
	for (size_t off = 0; off < size;) {
		const struct tree_record *rec = (const struct tree_record *)(map + off);
		const char *path = (const char *)(rec + 1);

		if (rec->data_len)
			path += rec->path_len + 1;
		off += TREE_RECORD_SIZE(rec->path_len, rec->data_len);
		if (rec->kind != TREE_BIND)
			continue;
		if (*nr == MAX_BINDS)
			return uvfio_error_set(m->err, -E2BIG, "too many mounts in /sys");
		binds[*nr] = open_tree(AT_FDCWD, path,
				       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
		if (binds[*nr] < 0)
			return failed(m, "bind", path);
		++*nr;
	}
	return 0;
}

int uapi_mounts_make(int fd, bool fuse, struct uapi_covered *covered, struct uvfio_error *err)
{
	int binds[MAX_BINDS];
	unsigned nr_binds = 0, bind = 0;
	struct mounts m = {.covered = {-1, -1}, .err = err};
	mode_t mask = umask(0);
	struct stat st;
	uint8_t *map = MAP_FAILED;
	int ret = 0;

	if (!fstat(fd, &st))
		map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return failed(&m, "map", "the description of the tree");
	if (fuse) {
		ret = open_binds(&m, map, (size_t)st.st_size, binds, &nr_binds);
		uapi_mounts_no_fuse();
	}
	for (size_t off = 0; !ret && off < (size_t)st.st_size;) {
		const struct tree_record *rec = (const struct tree_record *)(map + off);

		ret = make_record(&m, rec, rec->kind == TREE_BIND ? binds[bind++] : -1);
		off += TREE_RECORD_SIZE(rec->path_len, rec->data_len);
	}
	munmap(map, (size_t)st.st_size);
	for (unsigned i = 0; i < nr_binds; i++)
		close(binds[i]);
	for (unsigned i = 0; i < ALIKE; i++)
		free(m.alike[i]);
	tdestroy(m.ours, free);
	umask(mask);
	*covered = m.covered;
	return ret;
}
