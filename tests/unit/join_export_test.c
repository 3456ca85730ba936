/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * src/join: exports of BARs (D.4) for a runner.  It has each as a handle, and the file; what it
 * says of its program's descriptors is believed of the file only that comes along.
 */
#include "join_fixture.h"
#include "vfio/device_memory.h"
#include "vfio/iommufd_uapi.h"
#include "vfio/vfio_uapi.h"

/* What the runner answers, and what it was told. */
struct runner {
	int64_t export_value, path_value;
	int path_fd;           /* goes along with the answer to JOIN_ASK_PATH */
	uint32_t handle;       /* of the last export */
	int file;              /* and its file; -1 */
	uint64_t flags;        /* and how it is to be opened */
	unsigned paths, files; /* how often was asked for them */
};

/* Make @call, an ioctl whose argument @req is at address 64, and answer. */
static int64_t run(int sock, struct runner *r, struct join_head call, void *req, size_t len)
{
	post(sock, call, NULL, 0, -1);
	for (;;) {
		struct join_head answer = {.kind = JOIN_ANSWER};
		uint64_t at;

		assert_int_equal(join_receive(sock, &packet), 0);
		at = packet.head.arg[0] - 64;
		switch (packet.head.kind) {
		case JOIN_DONE:
			join_packet_close(&packet);
			return packet.head.value;
		case JOIN_ASK_FROM:
			assert_true(at + packet.head.arg[1] <= len);
			post(sock, answer, (char *)req + at, packet.head.arg[1], -1);
			break;
		case JOIN_ASK_TO:
			assert_true(at + packet.head.len <= len);
			memcpy((char *)req + at, packet.data, packet.head.len);
			post(sock, answer, NULL, 0, -1);
			break;
		case JOIN_ASK_EXPORT:
			if (r->file >= 0)
				close(r->file);
			r->flags = packet.head.arg[0];
			r->handle = (uint32_t)packet.head.arg[1];
			r->file = join_packet_take(&packet, 0);
			answer.value = r->export_value;
			post(sock, answer, NULL, 0, -1);
			break;
		case JOIN_ASK_PATH:
			assert_int_equal(packet.head.arg[0], 77);
			r->paths++;
			answer.value = r->path_value;
			post(sock, answer, NULL, 0, r->path_fd);
			break;
		case JOIN_ASK_FILE:
			r->files++;
			answer.value = -EINVAL;
			post(sock, answer, NULL, 0, -1);
			break;
		default:
			fail_msg("question %u", packet.head.kind);
		}
		join_packet_close(&packet);
	}
}

static int64_t export_page(int sock, struct runner *r, uint32_t device)
{
	struct {
		struct vfio_device_feature head;
		struct uvfio_feature_dma_buf request;
		struct uvfio_feature_dma_buf_range range;
	} req = {
		.head = {sizeof(req), VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF},
		.request = {0, O_RDWR | O_CLOEXEC, 0, 1},
		.range = {0, 4096},
	};

	return run(sock, r,
		   (struct join_head){.kind = JOIN_DEVICE_IOCTL,
				      .handle = device,
				      .arg = {1, VFIO_DEVICE_FEATURE, 64}},
		   &req, sizeof(req));
}

struct shared {
	struct joined j;
	struct runner r;
	uint32_t device, iommufd, ioas;
	uint64_t iova;
};

static int64_t iommufd_call(struct shared *s, unsigned cmd, void *req, size_t len)
{
	return run(s->j.sock, &s->r,
		   (struct join_head){
			   .kind = JOIN_IOMMUFD_IOCTL, .handle = s->iommufd, .arg = {1, cmd, 64}},
		   req, len);
}

/* MAP_FILE of the program's descriptor 77. */
static int64_t map_file(struct shared *s)
{
	struct iommufd_map_file m = {.size = sizeof(m),
				     .flags = 7,
				     .ioas_id = s->ioas,
				     .fd = 77,
				     .length = 4096,
				     .iova = s->iova += 4096};

	s->r.paths = s->r.files = 0;
	return iommufd_call(s, IOMMUFD_MAP_FILE, &m, sizeof(m));
}

static int path_of(int fd)
{
	char path[32];
	int ret;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ret = open(path, O_PATH | O_CLOEXEC);
	assert_true(ret >= 0);
	return ret;
}

static void open_shared(struct shared *s)
{
	struct iommufd_ioas_alloc a = {.size = sizeof(a)};
	const uint32_t on = COMMAND_ON;
	int64_t fd;

	memset(s, 0, sizeof(*s));
	s->r.path_fd = s->r.file = -1;
	join_open(&s->j);
	s->device = open_device(s->j.sock, open_group(s->j.sock, 1, NULL), "0000:01:00.0");
	post(s->j.sock,
	     (struct join_head){
		     .kind = JOIN_DEVICE_WRITE,
		     .handle = s->device,
		     .arg = {VFIO_REGION_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX) + PCI_COMMAND}},
	     &on, 2, -1);
	expect(s->j.sock, JOIN_DONE);
	assert_int_equal(packet.head.value, 2);
	fd = call(s->j.sock, (struct join_head){.kind = JOIN_IOMMUFD_OPEN});
	assert_true(fd > 0);
	s->iommufd = (uint32_t)fd;
	assert_int_equal(iommufd_call(s, IOMMUFD_IOAS_ALLOC, &a, sizeof(a)), 0);
	s->ioas = a.out_ioas_id;
}

static void close_shared(struct shared *s)
{
	if (s->r.file >= 0)
		close(s->r.file);
	join_close(&s->j);
}

static int64_t release(struct shared *s, uint32_t handle)
{
	return call(s->j.sock, (struct join_head){.kind = JOIN_RELEASE, .handle = handle});
}

static void test_life(void **state)
{
	int stranger = memfd_create("stranger", MFD_CLOEXEC);
	struct shared s;

	open_shared(&s);
	/* Nothing is exported: nobody looks. */
	assert_int_equal(map_file(&s), -EINVAL);
	assert_int_equal(s.r.paths, 0);
	assert_int_equal(export_page(s.j.sock, &s.r, s.device), 0);
	assert_int_equal(s.r.flags, O_RDWR | O_CLOEXEC);
	assert_int_equal(lseek(s.r.file, 0, SEEK_END), 4096);
	assert_true(vfio_exports(s.j.f.machine));
	s.r.path_fd = path_of(s.r.file);
	assert_int_equal(map_file(&s), 0);
	assert_int_equal(s.r.files, 0);
	close(s.r.path_fd);
	/* Another file is looked at as any. */
	s.r.path_fd = path_of(stranger);
	assert_int_equal(map_file(&s), -EINVAL);
	assert_int_equal(s.r.files, 1);
	close(s.r.path_fd);
	/* The program has closed it. */
	s.r.path_fd = path_of(s.r.file);
	assert_int_equal(release(&s, s.r.handle), 0);
	assert_int_equal(release(&s, s.r.handle), -EBADF);
	assert_false(vfio_exports(s.j.f.machine));
	assert_int_equal(map_file(&s), -EINVAL);
	close(s.r.path_fd);
	close(stranger);
	close_shared(&s);
}

/* A runner that refuses, or says what makes no sense: nothing of it is left. */
static void test_refused(void **state)
{
	static const struct {
		int64_t value, want;
	} answers[] = {{-ENFILE, -ENFILE}, {-ENOMEM, -ENOMEM}, {5, -EIO}, {INT64_MIN, -EIO}};
	struct shared s;

	open_shared(&s);
	for (unsigned i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		s.r.export_value = answers[i].value;
		assert_int_equal(export_page(s.j.sock, &s.r, s.device), answers[i].want);
		assert_int_equal(release(&s, s.r.handle), -EBADF);
		assert_false(vfio_exports(s.j.f.machine));
	}
	close_shared(&s);
}

/* What comes as the path of a descriptor has to be one, or is none. */
static void test_paths(void **state)
{
	int pipes[2];
	struct shared s;

	open_shared(&s);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(export_page(s.j.sock, &s.r, s.device), 0);
	s.r.path_fd = s.r.file; /* it could be closed, which may wait for somebody */
	assert_int_equal(map_file(&s), -EBADF);
	s.r.path_fd = pipes[0];
	assert_int_equal(map_file(&s), -EBADF);
	s.r.path_fd = -1;
	assert_int_equal(map_file(&s), -EBADF);
	s.r.path_value = -EBADF;
	assert_int_equal(map_file(&s), -EBADF);
	/* It cannot be looked at: then it is a file as any. */
	s.r.path_value = -EACCES;
	assert_int_equal(map_file(&s), -EINVAL);
	assert_int_equal(s.r.files, 1);
	s.r.path_value = 0;
	s.r.path_fd = path_of(pipes[0]);
	assert_int_equal(map_file(&s), -EINVAL);
	close(s.r.path_fd);
	close(pipes[0]);
	close(pipes[1]);
	close_shared(&s);
}

/* Handles are limited; what is given back can be had again.  The rest goes with the runner. */
static void test_limit(void **state)
{
	struct shared s;
	unsigned n = 0;

	open_shared(&s);
	while (!export_page(s.j.sock, &s.r, s.device))
		n++;
	assert_in_range(n, 900, JOIN_OBJECTS);
	assert_int_equal(release(&s, s.r.handle), 0);
	assert_int_equal(export_page(s.j.sock, &s.r, s.device), 0);
	close_shared(&s);
}

/* Another runner's program was sent the file. */
static void test_other_runner(void **state)
{
	struct iommufd_ioas_alloc a = {.size = sizeof(a)};
	struct shared s, other;
	int64_t fd;
	int sock;

	open_shared(&s);
	assert_int_equal(export_page(s.j.sock, &s.r, s.device), 0);
	sock = connect_host(s.j.host);
	other = s;
	other.j.sock = sock;
	fd = call(sock, (struct join_head){.kind = JOIN_IOMMUFD_OPEN});
	assert_true(fd > 0);
	other.iommufd = (uint32_t)fd;
	assert_int_equal(iommufd_call(&other, IOMMUFD_IOAS_ALLOC, &a, sizeof(a)), 0);
	other.ioas = a.out_ioas_id;
	other.r.path_fd = path_of(s.r.file);
	assert_int_equal(map_file(&other), 0);
	/* The handle is not its own. */
	assert_int_equal(call(sock, (struct join_head){.kind = JOIN_RELEASE, .handle = s.r.handle}),
			 -EBADF);
	assert_true(vfio_exports(s.j.f.machine));
	close(other.r.path_fd);
	close(sock);
	close_shared(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life),         cmocka_unit_test(test_refused),
		cmocka_unit_test(test_paths),        cmocka_unit_test(test_limit),
		cmocka_unit_test(test_other_runner),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
