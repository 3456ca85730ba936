/* SPDX-License-Identifier: BSD-3-Clause */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "uapi/process.h"
#include "uapi/shadow.h"

#define PREFIX "uvfio-run-"
/* A directory that nobody holds and that is older than this was left by a run that was killed. */
#define STALE_S   60
#define MAX_PATHS 65536u

struct entry {
	const char *path; /* ours to free */
	enum shadow_kind kind;
	const char *target; /* of a link, in ->map */
};

struct uapi_shadow {
	char dir[PATH_MAX]; /* without links */
	size_t dir_len;
	int root;              /* O_RDONLY, locked: this run lives */
	struct entry *entries; /* sorted by path, when complete */
	unsigned nr, size;
	bool sorted;
	const uint8_t *map; /* the description */
	size_t map_size;
};

/* What programs list to find devices, drivers and groups; and where our links `subsystem` lead. */
static const char *const listed[] = {
	"/sys/bus/pci",
	"/sys/bus/pci/devices",
	"/sys/bus/pci/drivers",
	"/sys/bus/pci/slots",
	"/sys/kernel/iommu_groups",
};

static bool is_listed(const char *path)
{
	for (unsigned i = 0; i < sizeof(listed) / sizeof(*listed); i++) {
		if (!strcmp(listed[i], path))
			return true;
	}
	return false;
}

/* ---- the table ---- */

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

static struct entry *find(const struct uapi_shadow *shadow, const char *path)
{
	const struct entry key = {.path = path};

	if (shadow->sorted)
		return bsearch(&key, shadow->entries, shadow->nr, sizeof(key), compare);
	for (unsigned i = shadow->nr; i-- > 0;) {
		if (!strcmp(shadow->entries[i].path, path))
			return &shadow->entries[i];
	}
	return NULL;
}

enum shadow_kind uapi_shadow_look(const struct uapi_shadow *shadow, const char *path,
				  const char **target)
{
	const struct entry *entry = find(shadow, path);

	if (target)
		*target = entry ? entry->target : NULL;
	return entry ? entry->kind : SHADOW_NONE;
}

static int enter(struct uapi_shadow *shadow, const char *path, enum shadow_kind kind,
		 const char *target)
{
	if (shadow->nr == shadow->size) {
		unsigned size = shadow->size ? 2 * shadow->size : 256;
		struct entry *grown = shadow->size < MAX_PATHS
					      ? realloc(shadow->entries, size * sizeof(*grown))
					      : NULL;

		if (!grown)
			return -ENOMEM;
		shadow->entries = grown;
		shadow->size = size;
	}
	path = strdup(path);
	if (!path)
		return -ENOMEM;
	shadow->entries[shadow->nr++] = (struct entry){path, kind, target};
	return 0;
}

const char *uapi_shadow_inside(const struct uapi_shadow *shadow, const char *host)
{
	if (strncmp(host, shadow->dir, shadow->dir_len))
		return NULL;
	host += shadow->dir_len;
	return !*host ? "/" : *host == '/' ? host : NULL;
}

int uapi_shadow_open(const struct uapi_shadow *shadow, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)flags | O_CLOEXEC | O_NOFOLLOW,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};
	struct stat st;
	int fd;

	if (!(flags & O_PATH)) /* a FIFO that somebody put there */
		how.flags |= O_NONBLOCK;
	fd = (int)syscall(SYS_openat2, shadow->root, path[1] ? path + 1 : ".", &how, sizeof(how));
	if (fd < 0)
		return -errno;
	if (flags & O_PATH)
		return fd;
	if (fstat(fd, &st) || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))) {
		close(fd);
		return -ENOENT;
	}
	fcntl(fd, F_SETFL, flags & O_APPEND);
	return fd;
}

/* ---- making it ---- */

/* Have the directories that lead to @path. */
static int make_parents(struct uapi_shadow *shadow, const char *path)
{
	char dir[PATH_MAX];
	struct stat st;

	/* Mostly it has just been made. */
	snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(path, '/') - path), path);
	if (find(shadow, dir))
		return 0;
	for (const char *end = path + 1; (end = strchr(end, '/')); end++) {
		bool real;
		int ret;

		snprintf(dir, sizeof(dir), "%.*s", (int)(end - path), path);
		if (find(shadow, dir))
			continue;
		if (mkdirat(shadow->root, dir + 1, 0755) && errno != EEXIST)
			return -errno;
		real = !stat(dir, &st) && S_ISDIR(st.st_mode);
		ret = enter(shadow, dir,
			    !real            ? SHADOW_DIR
			    : is_listed(dir) ? SHADOW_MERGED
					     : SHADOW_PARENT,
			    NULL);
		if (ret)
			return ret;
	}
	return 0;
}

static int make_file(struct uapi_shadow *shadow, const struct tree_record *rec, const char *path,
		     const char *data)
{
	int fd = openat(shadow->root, path + 1, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, data, rec->data_len) != (ssize_t)rec->data_len)
		ret = -ENOSPC;
	else if (fchmod(fd, rec->mode)) /* whatever the umask is */
		ret = -errno;
	close(fd);
	return ret;
}

static void warn_hidden(const char *path)
{
	char parent[PATH_MAX];
	struct stat st;

	snprintf(parent, sizeof(parent), "%s", path);
	*strrchr(parent, '/') = '\0';
	if (is_listed(parent) && !lstat(path, &st) && strcmp(path, "/sys/bus/pci/drivers/vfio-pci"))
		fprintf(stderr,
			"uvfio run: %s of this machine is hidden from the program by the device of "
			"the same name (choose another with addr= or group=)\n",
			path);
}

static int make_record(struct uapi_shadow *shadow, const struct tree_record *rec)
{
	const char *path = (const char *)(rec + 1);
	const char *data = path + rec->path_len + 1;
	struct entry *known;
	int ret = make_parents(shadow, path);

	if (ret)
		return ret;
	switch ((enum tree_kind)rec->kind) {
	case TREE_CLAIM:
		warn_hidden(path);
		/* fall through */
	case TREE_MOUNT:
	case TREE_DIR:
		if (mkdirat(shadow->root, path + 1, 0755) && errno != EEXIST)
			return -errno;
		known = find(shadow, path);
		if (!known)
			return enter(shadow, path, SHADOW_DIR, NULL);
		known->kind = SHADOW_DIR;
		return 0;
	case TREE_NODE:
	case TREE_FILE:
		ret = make_file(shadow, rec, path, data);
		return ret ? ret : enter(shadow, path, SHADOW_FILE, NULL);
	case TREE_LINK:
		if (symlinkat(data, shadow->root, path + 1))
			return -errno;
		return enter(shadow, path, SHADOW_LINK, data);
	case TREE_BIND:
		break;
	}
	return -EINVAL;
}

/* The names that the machine has in @path, as links that lead there from wherever they are. */
static void merge(struct uapi_shadow *shadow, const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char name[PATH_MAX];

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") ||
		    snprintf(name, sizeof(name), "%s/%s", path, entry->d_name) >= (int)sizeof(name))
			continue;
		if (!find(shadow, name))
			(void)!symlinkat(name, shadow->root, name + 1);
	}
	if (dir)
		closedir(dir);
}

static int fill(struct uapi_shadow *shadow)
{
	int ret = 0;

	for (size_t off = 0; !ret && off < shadow->map_size;) {
		const struct tree_record *rec = (const struct tree_record *)(shadow->map + off);

		ret = make_record(shadow, rec);
		off += TREE_RECORD_SIZE(rec->path_len, rec->data_len);
	}
	if (ret)
		return ret;
	qsort(shadow->entries, shadow->nr, sizeof(*shadow->entries), compare);
	shadow->sorted = true;
	for (unsigned i = 0; i < sizeof(listed) / sizeof(*listed); i++) {
		if (uapi_shadow_look(shadow, listed[i], NULL) == SHADOW_MERGED)
			merge(shadow, listed[i]);
	}
	return 0;
}

/* ---- the private directory ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)ftw;
	if (type == FTW_DP || type == FTW_D || type == FTW_DNR)
		rmdir(path);
	else
		unlink(path);
	return 0;
}

static void remove_tree(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* Remove what runs of this user that were killed have left in @base. */
static void sweep(const char *base)
{
	DIR *dir = opendir(base);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char path[PATH_MAX];
		struct stat st;
		int fd;

		if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) ||
		    snprintf(path, sizeof(path), "%s/%s", base, entry->d_name) >= (int)sizeof(path))
			continue;
		fd = openat(dirfd(dir), entry->d_name,
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (!fstat(fd, &st) && st.st_uid == geteuid() &&
		    st.st_mtime + STALE_S < time(NULL) && !flock(fd, LOCK_EX | LOCK_NB))
			remove_tree(path);
		close(fd);
	}
	if (dir)
		closedir(dir);
}

const char *uapi_shadow_base(void)
{
	const char *const bases[] = {"/dev/shm", getenv("TMPDIR"), "/tmp", "/var/tmp"};

	for (unsigned i = 0; i < sizeof(bases) / sizeof(*bases); i++) {
		if (bases[i] && *bases[i] == '/' &&
		    !faccessat(AT_FDCWD, bases[i], W_OK | X_OK, AT_EACCESS))
			return bases[i];
	}
	return NULL;
}

static int make_directory(struct uapi_shadow *shadow, struct uvfio_error *err)
{
	const char *base = uapi_shadow_base();
	char path[PATH_MAX];

	if (!base)
		return uvfio_error_set(err, -EROFS,
				       "there is nowhere to make the files of the program's /sys: "
				       "/dev/shm, TMPDIR, /tmp or /var/tmp must be writable");
	sweep(base);
	if (snprintf(path, sizeof(path), "%s/" PREFIX "XXXXXX", base) < (int)sizeof(path) &&
	    mkdtemp(path)) {
		shadow->root = uapi_fd_above_stdio(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
		if (shadow->root >= 0 && !flock(shadow->root, LOCK_EX | LOCK_NB) &&
		    realpath(path, shadow->dir)) {
			shadow->dir_len = strlen(shadow->dir);
			return 0;
		}
		rmdir(path);
	}
	return uvfio_error_set(err, -errno, "cannot make a directory in %s: %s", base,
			       strerror(errno));
}

struct uapi_shadow *uapi_shadow_new(int tree, struct uvfio_error *err)
{
	struct uapi_shadow *shadow = calloc(1, sizeof(*shadow));
	struct stat st;
	void *map;
	int ret;

	if (!shadow) {
		uvfio_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	shadow->root = -1;
	map = fstat(tree, &st) ? MAP_FAILED
			       : mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, tree, 0);
	if (map == MAP_FAILED) {
		uvfio_error_set(err, -errno, "cannot map the description of the tree: %s",
				strerror(errno));
		free(shadow);
		return NULL;
	}
	shadow->map = map;
	shadow->map_size = (size_t)st.st_size;
	if (!make_directory(shadow, err)) {
		ret = fill(shadow);
		if (!ret)
			return shadow;
		uvfio_error_set(err, ret, "cannot make the program's /sys in %s: %s", shadow->dir,
				strerror(-ret));
	}
	uapi_shadow_free(shadow);
	return NULL;
}

void uapi_shadow_free(struct uapi_shadow *shadow)
{
	if (!shadow)
		return;
	if (*shadow->dir)
		remove_tree(shadow->dir);
	if (shadow->root >= 0)
		close(shadow->root);
	for (unsigned i = 0; i < shadow->nr; i++)
		free((char *)shadow->entries[i].path);
	free(shadow->entries);
	munmap((void *)shadow->map, shadow->map_size);
	free(shadow);
}
