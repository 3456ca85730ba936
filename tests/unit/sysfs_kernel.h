/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's end of a tree that src/sysfs serves: FUSE messages over a socket, so that nothing
 * has to be mounted.
 */
#ifndef TESTS_UNIT_SYSFS_KERNEL_H
#define TESTS_UNIT_SYSFS_KERNEL_H

#include <linux/fuse.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "vfio_fixture.h"
#include "sysfs/sysfs.h"

static int sock; /* the kernel's end */
static uint64_t unique;
static uid_t caller;
static struct sysfs *sysfs;

/* ---- the kernel's part ---- */

static inline uint64_t ask(uint32_t opcode, uint64_t node, const void *arg, size_t len,
			   const void *data, size_t data_len)
{
	static uint8_t packet[70000];
	struct fuse_in_header head = {
		.len = (uint32_t)(sizeof(head) + len + data_len),
		.opcode = opcode,
		.unique = ++unique,
		.nodeid = node,
		.uid = caller,
		.pid = 1,
	};

	memcpy(packet, &head, sizeof(head));
	if (len)
		memcpy(packet + sizeof(head), arg, len);
	if (data_len)
		memcpy(packet + sizeof(head) + len, data, data_len);
	assert_int_equal(send(sock, packet, head.len, 0), head.len);
	return head.unique;
}

/* An answer: bytes, or -errno; *@to is to whom. */
static inline int answer(uint64_t *to, void *out, size_t size)
{
	static uint8_t packet[200000];
	struct fuse_out_header head;
	ssize_t n = recv(sock, packet, sizeof(packet), 0);

	assert_true(n >= (ssize_t)sizeof(head));
	memcpy(&head, packet, sizeof(head));
	*to = head.unique;
	if (head.error)
		return head.error;
	n -= (ssize_t)sizeof(head);
	assert_true((size_t)n <= size);
	memcpy(out, packet + sizeof(head), (size_t)n);
	return (int)n;
}

static inline int call(uint32_t opcode, uint64_t node, const void *arg, size_t len,
		       const void *data, size_t data_len, void *out, size_t size)
{
	uint64_t to, me = ask(opcode, node, arg, len, data, data_len);
	int ret = answer(&to, out, size);

	assert_int_equal(to, me);
	return ret;
}

static inline bool quiet(void)
{
	struct pollfd fd = {sock, POLLIN, 0};

	return poll(&fd, 1, 0) == 0;
}

static inline int lookup(uint64_t dir, const char *name, struct fuse_entry_out *out)
{
	return call(FUSE_LOOKUP, dir, name, strlen(name) + 1, NULL, 0, out, sizeof(*out));
}

/* The node of a path without links, or 0. */
static inline uint64_t node_of(const char *path)
{
	struct fuse_entry_out entry = {.nodeid = FUSE_ROOT_ID};
	char copy[512], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *name = strtok_r(copy, "/", &save); name; name = strtok_r(NULL, "/", &save))
		if (lookup(entry.nodeid, name, &entry) < 0)
			return 0;
	return entry.nodeid;
}

static inline int open_node(uint64_t node, int flags, uint64_t *fh)
{
	struct fuse_open_in in = {.flags = (uint32_t)flags};
	struct fuse_open_out out;
	int ret = call(FUSE_OPEN, node, &in, sizeof(in), NULL, 0, &out, sizeof(out));

	*fh = ret < 0 ? 0 : out.fh;
	return ret < 0 ? ret : 0;
}

static inline uint64_t ask_put(const char *path, const char *text)
{
	struct fuse_write_in in = {.size = (uint32_t)strlen(text)};
	uint64_t node = node_of(path);

	assert_true(node);
	return ask(FUSE_WRITE, node, &in, sizeof(in), text, strlen(text));
}

static inline int put(const char *path, const char *text)
{
	struct fuse_write_out out;
	uint64_t to, me = ask_put(path, text);
	int ret = answer(&to, &out, sizeof(out));

	assert_int_equal(to, me);
	return ret < 0 ? ret : (int)out.size;
}

static inline int get_at(const char *path, char *out, uint32_t size, uint64_t offset)
{
	struct fuse_read_in in = {.size = size, .offset = offset};
	uint64_t node = node_of(path);
	int n;

	assert_true(node);
	n = open_node(node, O_RDONLY, &in.fh);
	if (!n)
		n = call(FUSE_READ, node, &in, sizeof(in), NULL, 0, out, size);
	if (n >= 0)
		out[n] = '\0';
	return n;
}

static inline const char *show(const char *path)
{
	static char text[4097];
	int n = get_at(path, text, 4096, 0);

	return n < 0 ? strerrorname_np(-n) : text;
}

static inline const char *target_of(uint64_t node)
{
	static char text[4097];
	int n = call(FUSE_READLINK, node, NULL, 0, NULL, 0, text, 4096);

	assert_true(n > 0);
	text[n] = '\0';
	return text;
}

static inline void up(struct fixture *f, const char *subdir)
{
	struct sysfs_config config = {.subdir = subdir, .uid = 1000, .gid = 1000};
	struct fuse_init_in in = {.major = 7, .minor = 34, .flags = FUSE_BIG_WRITES};
	struct fuse_init_out out;
	struct uvfio_error err;
	int pair[2];

	config.machine = f->machine;
	caller = 0;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	sock = pair[0];
	sysfs = sysfs_new(&config, &err);
	assert_non_null(sysfs);
	assert_int_equal(sysfs_serve(sysfs, pair[1], &err), 0);
	assert_true(call(FUSE_INIT, 0, &in, sizeof(in), NULL, 0, &out, sizeof(out)) > 0);
}

static inline void down(void)
{
	sysfs_free(sysfs);
	close(sock);
}

/* ---- the tree ---- */

static inline void check_link(const char *dir, const char *name, uint64_t node)
{
	char path[8192], *part;
	const char *target = target_of(node);
	size_t len;

	snprintf(path, sizeof(path), "%s", dir);
	for (; !strncmp(target, "../", 3); target += 3) {
		part = strrchr(path, '/');
		assert_non_null(part);
		*part = '\0';
	}
	len = strlen(path);
	snprintf(path + len, sizeof(path) - len, "/%s", target);
	if (!node_of(path))
		fail_msg("%s/%s leads to %s, which is not there", dir, name, path);
}

/* Every entry: it is found by its name, with the number and kind that the listing says. */
static inline unsigned walk(const char *dir)
{
	struct fuse_read_in in = {.size = 600}; /* so that it takes several */
	uint64_t node = node_of(dir);
	char buf[4096], path[1024];
	unsigned seen = 0;
	int n;

	while ((n = call(FUSE_READDIR, node, &in, sizeof(in), NULL, 0, buf, sizeof(buf))) > 0) {
		for (int off = 0; off < n;) {
			struct fuse_dirent *e = (struct fuse_dirent *)(buf + off);
			struct fuse_entry_out found;
			char name[256];

			off += (int)FUSE_DIRENT_SIZE(e);
			in.offset = e->off;
			snprintf(name, sizeof(name), "%.*s", (int)e->namelen, e->name);
			if (name[0] == '.')
				continue;
			seen++;
			assert_true(lookup(node, name, &found) > 0);
			assert_int_equal(found.nodeid, e->ino);
			assert_int_equal(found.attr.mode >> 12, e->type);
			snprintf(path, sizeof(path), "%s/%s", dir, name);
			if (S_ISDIR(found.attr.mode))
				seen += walk(path);
			else if (S_ISLNK(found.attr.mode))
				check_link(dir, name, found.nodeid);
		}
	}
	assert_int_equal(n, 0);
	return seen;
}

#endif
