/* SPDX-License-Identifier: BSD-3-Clause */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "uapi/task.h"
#include "uapi/walk.h"

#define MAX_LINKS 40 /* as the kernel */

struct walker {
	const struct uapi_server *server;
	pid_t tid;
	uint64_t resolve;
	char root[PATH_MAX]; /* "" for "/" */
	char *at;            /* where we are, PATH_MAX bytes; likewise */
	char rest[PATH_MAX]; /* of the path */
	unsigned links;
};

static enum shadow_kind kind_of(const struct walker *w, const char *path, const char **target)
{
	if (!*path) {
		*target = NULL;
		return SHADOW_PARENT;
	}
	return uapi_shadow_look(w->server->shadow, path, target);
}

/* @host as the program knows it. */
static int set_at(struct walker *w, const char *host)
{
	const char *inside = uapi_shadow_inside(w->server->shadow, host);

	if (inside)
		host = inside;
	if (strlen(host) >= PATH_MAX)
		return -ENAMETOOLONG;
	strcpy(w->at, host[1] ? host : "");
	return 0;
}

/* Where the walk begins.  1: nowhere that we know. */
static int begin(struct walker *w, int dirfd, const char *path, bool *in_shadow)
{
	struct uapi_tasks *tasks = w->server->tasks;
	const bool scoped = w->resolve & (RESOLVE_IN_ROOT | RESOLVE_BENEATH);
	char name[24] = "cwd", host[PATH_MAX];
	ssize_t n;
	int ret;

	*in_shadow = false;
	w->root[0] = '\0';
	w->at[0] = '\0';
	if (atomic_load_explicit(&w->server->roots_vary, memory_order_relaxed)) {
		n = uapi_task_link(tasks, w->tid, "root", w->root, sizeof(w->root));
		if (n < 0 || w->root[0] != '/')
			return 1;
		if (!w->root[1])
			w->root[0] = '\0';
	}
	if (*path == '/' && (w->resolve & RESOLVE_BENEATH))
		return -EXDEV;
	if (*path == '/' && !scoped) {
		strcpy(w->at, w->root);
		return 0;
	}
	if (dirfd != AT_FDCWD)
		snprintf(name, sizeof(name), "fd/%d", dirfd);
	n = uapi_task_link(tasks, w->tid, name, host, sizeof(host));
	if (n < 0 || host[0] != '/')
		return 1; /* no directory: the kernel says what it is */
	*in_shadow = uapi_shadow_inside(w->server->shadow, host) != NULL;
	ret = set_at(w, host);
	if (scoped)
		strcpy(w->root, w->at);
	return ret;
}

/* ---- the usual case ---- */

/*
 * Is the absolute @path without ".." plainly not ours?  It is when its first names lead to no
 * directory of ours, and no link that follows could lead back.
 */
static bool is_foreign(const struct walker *w, const char *path, bool nofollow)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC | (nofollow ? O_NOFOLLOW : 0),
			       .resolve = RESOLVE_NO_SYMLINKS};
	char prefix[PATH_MAX];
	size_t len = 0;
	const char *p = path;
	enum shadow_kind kind;
	int fd;

	for (;;) {
		size_t part;

		p += strspn(p, "/");
		part = strcspn(p, "/");
		if (!part)
			return false; /* ends among ours */
		if (part == 1 && *p == '.') {
			p++;
			continue;
		}
		if (len + 1 + part >= sizeof(prefix))
			return false;
		prefix[len] = '/';
		memcpy(prefix + len + 1, p, part);
		len += 1 + part;
		prefix[len] = '\0';
		p += part;
		kind = uapi_shadow_look(w->server->shadow, prefix, NULL);
		if (kind == SHADOW_NONE)
			break;
		if (kind != SHADOW_PARENT && kind != SHADOW_MERGED)
			return false;
	}
	fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
	if (fd >= 0) {
		close(fd);
		return true;
	}
	return errno == ENOENT || errno == ENOTDIR || errno == EACCES || errno == ENAMETOOLONG;
}

static bool has_dotdot(const char *path)
{
	for (const char *p = path; (p = strstr(p, "..")); p += 2) {
		if ((p == path || p[-1] == '/') && (!p[2] || p[2] == '/'))
			return true;
	}
	return false;
}

/* ---- a name at a time ---- */

/* Put @target in front of what is left of the path. */
static int prepend(struct walker *w, const char *target)
{
	char joined[2 * PATH_MAX];
	int len = snprintf(joined, sizeof(joined), "%s%s%s", target, *w->rest ? "/" : "", w->rest);

	if (len >= (int)sizeof(w->rest))
		return -ENAMETOOLONG;
	memcpy(w->rest, joined, (size_t)len + 1);
	return 0;
}

/* @magic: a link of /proc/PID, whose text is where it leads and nothing to be walked. */
static int follow(struct walker *w, const char *target, bool magic)
{
	if (++w->links > MAX_LINKS || (w->resolve & RESOLVE_NO_SYMLINKS))
		return -ELOOP;
	if (magic) {
		if (w->resolve & RESOLVE_NO_MAGICLINKS)
			return -ELOOP;
		if (w->resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT))
			return -EXDEV;
		return *target == '/' ? set_at(w, target) : 1;
	}
	if (*target == '/') {
		if (w->resolve & RESOLVE_BENEATH)
			return -EXDEV;
		strcpy(w->at, w->root);
	}
	return prepend(w, target);
}

static int go_up(struct walker *w)
{
	const char *target;
	enum shadow_kind in = kind_of(w, w->at, &target);
	struct stat st;
	char *slash;

	if (in == SHADOW_FILE)
		return -ENOTDIR;
	if (in == SHADOW_NONE && (stat(w->at, &st) || !S_ISDIR(st.st_mode)))
		return 1;

	if (!strcmp(w->at, w->root))
		return w->resolve & RESOLVE_BENEATH ? -EXDEV : 0;
	slash = strrchr(w->at, '/');
	if (slash)
		*slash = '\0';
	return 0;
}

static bool in_process(const char *at)
{
	return !strncmp(at, "/proc/", 6) && isdigit((unsigned char)at[6]);
}

/* Links of /proc that the kernel makes up for whoever looks: not for us. */
static int own_process(struct walker *w, const char *name, char *text, size_t size)
{
	pid_t tgid;

	if (strcmp(w->at, "/proc") || (strcmp(name, "self") && strcmp(name, "thread-self")))
		return 0;
	tgid = uapi_task_tgid(w->tid);
	if (!strcmp(name, "self"))
		snprintf(text, size, "%d", tgid);
	else
		snprintf(text, size, "%d/task/%d", tgid, w->tid);
	return 1;
}

/* Go to the @name in the directory where we are.  1: this is not ours, and need not be looked at
 * any further.  2: this is the end, a link that is not followed. */
static int go_down(struct walker *w, const char *name, bool nofollow)
{
	char text[PATH_MAX];
	const char *target;
	const size_t len = strlen(w->at);
	enum shadow_kind in = kind_of(w, w->at, &target), kind;
	ssize_t n = -1;

	if (in == SHADOW_FILE)
		return -ENOTDIR;
	if (strlen(name) > NAME_MAX || len + 1 + strlen(name) >= PATH_MAX)
		return -ENAMETOOLONG;
	if (own_process(w, name, text, sizeof(text)))
		return nofollow ? 1 : follow(w, text, false);
	w->at[len] = '/';
	strcpy(w->at + len + 1, name);
	kind = kind_of(w, w->at, &target);
	if (kind == SHADOW_NONE && in == SHADOW_DIR)
		return -ENOENT;
	if (kind == SHADOW_NONE) {
		n = readlink(w->at, text, sizeof(text) - 1);
		if (n < 0)
			return errno == EINVAL ? 0 : 1;
		text[n] = '\0';
		target = text;
	} else if (kind != SHADOW_LINK) {
		return 0;
	}
	if (nofollow)
		return 2;
	w->at[len] = '\0';
	return follow(w, target, n >= 0 && in_process(w->at));
}

static int walk_on(struct walker *w, bool nofollow)
{
	for (;;) {
		char name[NAME_MAX + 2];
		char *p = w->rest + strspn(w->rest, "/");
		size_t len = strcspn(p, "/");
		bool last = !p[len];
		int ret;

		if (!len)
			return 0;
		if (len > NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(name, p, len);
		name[len] = '\0';
		memmove(w->rest, p + len, strlen(p + len) + 1);
		if (!strcmp(name, "."))
			ret = uapi_shadow_look(w->server->shadow, w->at, NULL) == SHADOW_FILE
				      ? -ENOTDIR
				      : 0;
		else if (!strcmp(name, ".."))
			ret = go_up(w);
		else
			ret = go_down(w, name, last && nofollow);
		if (ret)
			return ret == 2 ? 0 : ret;
	}
}

int uapi_walk(const struct uapi_server *server, pid_t tid, int dirfd, const char *path,
	      bool nofollow, uint64_t resolve, struct walk *out)
{
	struct walker w = {.server = server, .tid = tid, .resolve = resolve, .at = out->path};
	const size_t len = strlen(path);
	bool in_shadow;
	int ret;

	*out = (struct walk){.kind = SHADOW_NONE};
	ret = begin(&w, dirfd, path, &in_shadow);
	if (ret)
		return ret < 0 ? ret : 0;
	if (len >= sizeof(w.rest))
		return 0;
	if (!resolve && !in_shadow && !has_dotdot(path) && strlen(w.at) + 1 + len < PATH_MAX) {
		char full[PATH_MAX + 1];

		snprintf(full, sizeof(full), "%s/%s", w.at, path + strspn(path, "/"));
		if (is_foreign(&w, full, nofollow)) {
			strcpy(out->path, full);
			return 0;
		}
	}
	strcpy(w.rest, path);
	ret = walk_on(&w, nofollow);
	if (ret < 0)
		return ret;
	if (!ret)
		out->kind = kind_of(&w, w.at, &out->target);
	/* A mount point lies on the way from anywhere else to /sys. */
	if (out->kind > SHADOW_PARENT && (resolve & RESOLVE_NO_XDEV) && !in_shadow)
		return -EXDEV;
	if (out->kind == SHADOW_FILE && len && path[len - 1] == '/')
		return -ENOTDIR;
	if (!*out->path)
		strcpy(out->path, "/");
	out->left = in_shadow && out->kind <= SHADOW_PARENT;
	return out->kind > SHADOW_PARENT;
}

bool uapi_walk_is_public(const char *path)
{
	char dir[PATH_MAX];
	struct stat st;

	for (const char *end = path; (end = strchr(end + 1, '/'));) {
		if (snprintf(dir, sizeof(dir), "%.*s", (int)(end - path), path) >= (int)sizeof(dir))
			return false;
		if (lstat(dir, &st) || !S_ISDIR(st.st_mode) || !(st.st_mode & S_IXOTH))
			return false;
	}
	return true;
}
