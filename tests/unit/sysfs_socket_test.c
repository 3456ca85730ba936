/* SPDX-License-Identifier: BSD-3-Clause */
/* src/sysfs over a socket: requests that no kernel would make, from who has joined. */
#include <linux/fuse.h>
#include <poll.h>
#include <sys/socket.h>
#include "vfio_fixture.h"
#include "sysfs/sysfs.h"

struct tree {
	struct fixture f;
	struct sysfs *fs;
	int sock;
	uint64_t unique;
	uint8_t answer[131072];
};

/* Send a request; its number. */
static uint64_t tell(struct tree *t, uint32_t opcode, uint64_t ino, const void *body, size_t len)
{
	uint8_t request[8192];
	struct fuse_in_header head = {
		.len = (uint32_t)(sizeof(head) + len),
		.opcode = opcode,
		.unique = ++t->unique,
		.nodeid = ino,
	};

	memcpy(request, &head, sizeof(head));
	memcpy(request + sizeof(head), body, len);
	assert_int_equal(send(t->sock, request, head.len, MSG_NOSIGNAL), head.len);
	return head.unique;
}

/* The answer to it: 0 or -errno; what follows is in t->answer. */
static int ask(struct tree *t, uint32_t opcode, uint64_t ino, const void *body, size_t len)
{
	uint64_t unique = tell(t, opcode, ino, body, len);
	struct fuse_out_header head;
	ssize_t n;

	n = recv(t->sock, t->answer, sizeof(t->answer), 0);
	assert_true(n >= (ssize_t)sizeof(head));
	memcpy(&head, t->answer, sizeof(head));
	assert_int_equal(head.unique, unique);
	memmove(t->answer, t->answer + sizeof(head), sizeof(t->answer) - sizeof(head));
	return head.error;
}

static void up(struct tree *t, const char *first, const char *second)
{
	struct fuse_init_in init = {.major = FUSE_KERNEL_VERSION,
				    .minor = FUSE_KERNEL_MINOR_VERSION};
	struct sysfs_config config = {0};
	struct uvfio_error err;
	int pair[2];

	memset(t, 0, sizeof(*t));
	fixture_machine(&t->f);
	fixture_add(&t->f, first);
	if (second)
		fixture_add(&t->f, second);
	config.machine = t->f.machine;
	t->fs = sysfs_new(&config, &err);
	assert_non_null(t->fs);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	t->sock = pair[1];
	assert_int_equal(sysfs_serve(t->fs, pair[0], &err), 0);
	assert_int_equal(ask(t, FUSE_INIT, 0, &init, sizeof(init)), 0);
}

static void down(struct tree *t)
{
	sysfs_free(t->fs);
	close(t->sock);
	fixture_close(&t->f);
}

static uint64_t look_up(struct tree *t, uint64_t dir, const char *name)
{
	struct fuse_entry_out entry;

	assert_int_equal(ask(t, FUSE_LOOKUP, dir, name, strlen(name) + 1), 0);
	memcpy(&entry, t->answer, sizeof(entry));
	return entry.nodeid;
}

/* A directory has no contents. */
static void test_read_of_a_directory(void **state)
{
	struct fuse_read_in read = {.size = 4096};
	struct tree t;
	uint64_t dir;

	up(&t, "probe", NULL);
	assert_int_equal(ask(&t, FUSE_READ, FUSE_ROOT_ID, &read, sizeof(read)), -EISDIR);
	dir = look_up(&t, FUSE_ROOT_ID, "bus");
	assert_int_equal(ask(&t, FUSE_READ, dir, &read, sizeof(read)), -EISDIR);
	down(&t);
}

/* An answer that nobody can take does no harm. */
static void test_deaf(void **state)
{
	struct fuse_getattr_in getattr = {0};
	struct tree t;
	char byte;

	up(&t, "probe", NULL);
	assert_int_equal(shutdown(t.sock, SHUT_RD), 0);
	tell(&t, FUSE_GETATTR, FUSE_ROOT_ID, &getattr, sizeof(getattr));
	assert_int_equal(shutdown(t.sock, SHUT_WR), 0);
	assert_int_equal(recv(t.sock, &byte, 1, 0), 0);
	down(&t);
}

/* Who does not read its answers does not keep the door from ending. */
static void test_never_reads(void **state)
{
	struct {
		struct fuse_in_header head;
		struct fuse_getattr_in in;
	} request = {
		.head = {.len = sizeof(request), .opcode = FUSE_GETATTR, .nodeid = FUSE_ROOT_ID}};
	struct pollfd fd;
	struct tree t;

	up(&t, "probe", NULL);
	fd = (struct pollfd){t.sock, POLLOUT, 0};
	do {
		request.head.unique++;
		while (send(t.sock, &request, sizeof(request), MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
			request.head.unique++;
		assert_int_equal(errno, EAGAIN);
	} while (poll(&fd, 1, 200)); /* until it takes no more: it waits for us */
	down(&t);
}

/* A file of one device, named with the number of another's, and closed more than once. */
static void test_uio_confused(void **state)
{
	struct {
		struct fuse_write_in write;
		int32_t on;
	} write = {.write = {.size = 4}, .on = 1};
	struct fuse_release_in release = {0};
	struct fuse_open_in open = {.flags = O_RDWR};
	struct fuse_open_out opened;
	uint64_t nodes, first, second;
	struct tree t;

	up(&t, "probe,driver=uio_pci_generic", "probe,driver=uio_pci_generic");
	nodes = look_up(&t, FUSE_ROOT_ID, "uvfio");
	first = look_up(&t, nodes, "uio0");
	second = look_up(&t, nodes, "uio1");
	assert_int_equal(ask(&t, FUSE_OPEN, first, &open, sizeof(open)), 0);
	memcpy(&opened, t.answer, sizeof(opened));
	write.write.fh = release.fh = opened.fh;
	assert_int_equal(ask(&t, FUSE_WRITE, first, &write, sizeof(write)), 0);
	assert_int_equal(ask(&t, FUSE_WRITE, second, &write, sizeof(write)), -EBADF);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(ask(&t, FUSE_RELEASE, first, &release, sizeof(release)), 0);
	assert_int_equal(ask(&t, FUSE_WRITE, first, &write, sizeof(write)), -EBADF);
	down(&t);
}

/* Another door goes on where this one rests. */
static void test_handed_over(void **state)
{
	struct fuse_getattr_in getattr = {0};
	struct fuse_out_header head;
	struct sysfs_config config = {0};
	struct sysfs_handed from, bad;
	struct uvfio_error err = {""};
	struct pollfd fd;
	struct sysfs *next;
	uint64_t dir, unique;
	struct tree t;

	up(&t, "probe", NULL);
	dir = look_up(&t, FUSE_ROOT_ID, "bus");
	assert_int_equal(sysfs_hold(t.fs, &from, &err), 0);
	unique = tell(&t, FUSE_GETATTR, dir, &getattr, sizeof(getattr));
	/* It does not come to it. */
	fd = (struct pollfd){t.sock, POLLIN, 0};
	assert_int_equal(poll(&fd, 1, 0), 0);
	sysfs_go_on(t.fs);
	assert_true(recv(t.sock, &head, sizeof(head), 0) > 0);
	assert_int_equal(head.unique, unique);

	assert_int_equal(sysfs_hold(t.fs, &from, &err), 0);
	config.machine = t.f.machine;
	for (size_t len = 0; len < from.len; len++) {
		next = sysfs_new(&config, &err);
		assert_non_null(next);
		bad = from;
		bad.fd = fcntl(from.fd, F_DUPFD_CLOEXEC, 0);
		bad.len = len;
		assert_int_equal(sysfs_continue(next, &bad, &err), -EINVAL);
		sysfs_free(next);
	}
	next = sysfs_new(&config, &err);
	assert_non_null(next);
	from.fd = fcntl(from.fd, F_DUPFD_CLOEXEC, 0);
	assert_int_equal(sysfs_continue(next, &from, &err), 0);
	unique = tell(&t, FUSE_GETATTR, dir, &getattr, sizeof(getattr));
	/* The beginning, which it was told again, is not answered again. */
	assert_int_equal(poll(&fd, 1, 0), 0);
	sysfs_free(t.fs);
	t.fs = next;
	assert_int_equal(poll(&fd, 1, 0), 0);
	sysfs_go_on(next);
	assert_true(recv(t.sock, t.answer, sizeof(t.answer), 0) > (ssize_t)sizeof(head));
	memcpy(&head, t.answer, sizeof(head));
	assert_int_equal(head.unique, unique);
	assert_int_equal(head.error, 0);
	/* The same directory has the same number. */
	assert_int_equal(look_up(&t, FUSE_ROOT_ID, "bus"), dir);
	down(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_of_a_directory), cmocka_unit_test(test_deaf),
		cmocka_unit_test(test_never_reads),         cmocka_unit_test(test_handed_over),
		cmocka_unit_test(test_uio_confused),
	};

	guarded_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
