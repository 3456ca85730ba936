/* SPDX-License-Identifier: BSD-3-Clause */
/* src/control/move*.c, the target: whatever comes, the device is what it was, or what was moved. */
#include "move_util.h"

#define SPEC "pcitest,memory=64K"

static uint8_t stream[1 << 20], hello[MOVE_HELLO_BYTES];
static size_t stream_len;

/* What the first device would send. */
static void record(struct pair *p)
{
	struct vfio_move *move;
	struct uvfio_error err;
	ssize_t n;

	stream_len = 0;
	move_hello_write(p->first, hello);
	assert_int_equal(vfio_move_begin(p->first, VFIO_MOVE_SAVE, &move, &err), 0);
	assert_int_equal(vfio_move_pause(move, &err), 0);
	while ((n = vfio_move_read(move, stream + stream_len, 4096)) > 0)
		stream_len += (size_t)n;
	assert_int_equal(n, 0);
	assert_int_equal(vfio_move_end(move, VFIO_MOVE_BACK, &err), 0);
}

static void start(struct pair *p, struct mover *m, int *fd)
{
	int fds[2];

	socket_pair(fds);
	mover_start(m, p->second, fds[0], true);
	*fd = fds[1];
}

enum until { NOTHING, HELLO, DATA, END, YOURS };

static void play(int fd, enum until until)
{
	uint64_t bytes = stream_len;

	if (until == NOTHING)
		return;
	say_frame(fd, MOVE_FRAME_HELLO, hello, sizeof(hello));
	assert_int_equal(hear_frame(fd, NULL), MOVE_FRAME_WELCOME);
	if (until == HELLO)
		return;
	if (until == DATA) {
		say_frame(fd, MOVE_FRAME_DATA, stream, stream_len / 2);
		return;
	}
	for (size_t at = 0; at < stream_len; at += 3000)
		say_frame(fd, MOVE_FRAME_DATA, stream + at,
			  stream_len - at < 3000 ? stream_len - at : 3000);
	say_frame(fd, MOVE_FRAME_END, &bytes, 8);
	assert_int_equal(hear_frame(fd, NULL), MOVE_FRAME_READY);
	if (until == YOURS)
		say_frame(fd, MOVE_FRAME_YOURS, NULL, 0);
}

/* It is as after a reset, and nobody's. */
static void untouched(struct pair *p)
{
	static const char name[] = SECOND;
	struct vfio_group_file *gf;
	struct vfio_container *c;
	struct vfio_device_file *df;
	uint64_t value = 1;
	uint16_t command = COMMAND_ON;

	assert_int_equal(vfio_device_place(p->second), VFIO_HERE);
	assert_int_equal(vfio_group_open(p->f.machine, 2, &gf), 0);
	assert_int_equal(vfio_container_open(p->f.machine, &c), 0);
	assert_int_equal(vfio_group_set_container(gf, c), 0);
	assert_int_equal(vfio_container_ioctl(c, p->f.client, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU),
			 0);
	p->f.tc.client.continues = true;
	assert_int_equal(vfio_group_get_device(gf, p->f.client, (uintptr_t)name, &df), 0);
	p->f.tc.client.continues = false;
	vfio_device_write(df, VFIO_REGION_OFFSET(7) + PCI_COMMAND, &command, 2);
	assert_int_equal(vfio_device_read(df, VFIO_REGION_OFFSET(0) + PCITEST_SCRATCH, &value, 8),
			 8);
	assert_int_equal(value, 0);
	vfio_device_release(df);
	vfio_group_release(gf);
	vfio_container_release(c);
}

static void taken(void **state)
{
	struct mover m = {.ret = 0};
	struct pair p;
	int fd;

	pair_up(&p, SPEC, SPEC);
	record(&p);
	start(&p, &m, &fd);
	play(fd, YOURS);
	assert_int_equal(hear_frame(fd, NULL), MOVE_FRAME_HAVE);
	if (mover_end(&m))
		fail_msg("%s", m.err.msg);
	assert_int_equal(vfio_device_place(p.second), VFIO_HERE);
	assert_int_equal(m.move.progress.bytes, stream_len);
	close(fd);
	pair_down(&p);
}

static void it_goes(void **state)
{
	struct pair p;

	pair_up(&p, SPEC, SPEC);
	record(&p);
	for (enum until until = NOTHING; until <= END; until++) {
		struct mover m = {.ret = 0};
		int fd;

		start(&p, &m, &fd);
		play(fd, until);
		close(fd);
		mover_end(&m);
		assert_int_equal(m.ret, until == END ? -EINPROGRESS : -ENODATA);
		assert_int_equal(m.move.doubt, until == END);
		if (until < END) {
			untouched(&p);
			continue;
		}
		/* All is there, and whether it was given is not known. */
		expect(&m, "uvfio resume " SECOND " --force");
		assert_int_equal(vfio_device_place(p.second), VFIO_IN_DOUBT);
		assert_int_equal(vfio_device_resume(p.second, true, &m.err), 0);
		assert_int_equal(vfio_device_place(p.second), VFIO_HERE);
	}
	pair_down(&p);
}

static void it_says_no(void **state)
{
	struct pair p;

	pair_up(&p, SPEC, SPEC);
	record(&p);
	for (enum until until = NOTHING; until <= END; until++) {
		struct mover m = {.ret = 0};
		int fd;

		start(&p, &m, &fd);
		play(fd, until);
		say_frame(fd, MOVE_FRAME_NO, "kept", 4);
		assert_int_equal(mover_end(&m), -EREMOTEIO);
		expect(&m, "kept");
		assert_false(m.move.doubt);
		untouched(&p);
		close(fd);
	}
	pair_down(&p);
}

/* What does not belong there, and what is too long. */
static void it_lies(void **state)
{
	static const uint32_t wrong[] = {0, MOVE_FRAME_WELCOME, MOVE_FRAME_READY, MOVE_FRAME_YOURS,
					 99};
	struct pair p;

	pair_up(&p, SPEC, SPEC);
	record(&p);
	for (enum until until = NOTHING; until <= DATA; until++) {
		for (unsigned i = 0; i <= sizeof(wrong) / sizeof(wrong[0]); i++) {
			bool is_long = i == sizeof(wrong) / sizeof(wrong[0]);
			struct mover m = {.ret = 0};
			int fd;

			start(&p, &m, &fd);
			play(fd, until);
			if (is_long)
				say_head(fd, until ? MOVE_FRAME_DATA : MOVE_FRAME_HELLO,
					 MOVE_PAYLOAD_MAX + 1);
			else
				say_head(fd, wrong[i], 0);
			assert_int_equal(hear_frame(fd, NULL), MOVE_FRAME_NO);
			close(fd);
			assert_int_equal(mover_end(&m), -EPROTO);
			untouched(&p);
		}
	}
	pair_down(&p);
}

static void lie_about(struct pair *p, size_t at, uint8_t value, int ret, const char *word)
{
	struct mover m = {.ret = 0};
	uint8_t lie[MOVE_HELLO_BYTES];
	size_t len = 0;
	int fd;

	memcpy(lie, hello, sizeof(lie));
	lie[at] ^= value;
	start(p, &m, &fd);
	say_frame(fd, MOVE_FRAME_HELLO, lie, sizeof(lie));
	/* Why is said to the other side, too. */
	assert_int_equal(hear_frame(fd, &len), MOVE_FRAME_NO);
	assert_non_null(memmem(frame_buf, len, word, strlen(word)));
	close(fd);
	assert_int_equal(mover_end(&m), ret);
	expect(&m, word);
	untouched(p);
}

static void another_device(void **state)
{
	struct pair p;

	pair_up(&p, SPEC, SPEC);
	record(&p);
	lie_about(&p, 0, 1, -EPROTO, "no device of uvfio's");
	lie_about(&p, 8, 2, -EPROTO, "version 3");
	lie_about(&p, 12, 2, -EPROTO, "version");
	lie_about(&p, 16, 0xff, -EINVAL, "this is a pcitest");
	lie_about(&p, 48, 1, -EINVAL, "same options");
	lie_about(&p, 56, 1, -EINVAL, "class");
	lie_about(&p, 60, 1, -EINVAL, "MSI-X vectors");
	lie_about(&p, 64, 1, -EINVAL, "BAR 0");
	for (unsigned len = 0; len < MOVE_HELLO_BYTES; len += 7) {
		struct mover m = {.ret = 0};
		int fd;

		start(&p, &m, &fd);
		say_frame(fd, MOVE_FRAME_HELLO, hello, len);
		assert_int_equal(hear_frame(fd, NULL), MOVE_FRAME_NO);
		close(fd);
		assert_int_equal(mover_end(&m), -EPROTO);
	}
	untouched(&p);
	pair_down(&p);
}

static void bad_data(struct pair *p, const uint8_t *bytes, size_t len, uint64_t total)
{
	struct mover m = {.ret = 0};
	int fd;

	start(p, &m, &fd);
	play(fd, HELLO);
	say_frame(fd, MOVE_FRAME_DATA, bytes, len);
	if (total)
		say_frame(fd, MOVE_FRAME_END, &total, 8);
	assert_int_equal(hear_frame(fd, NULL), MOVE_FRAME_NO);
	close(fd);
	mover_end(&m);
	assert_true(m.ret == -EINVAL || m.ret == -EPROTO);
	assert_true(m.err.msg[0]);
	untouched(p);
}

static void wrong_data(void **state)
{
	uint8_t *copy = malloc(stream_len);
	struct pair p;

	pair_up(&p, SPEC, SPEC);
	record(&p);
	copy = realloc(copy, stream_len + 1);
	assert_non_null(copy);
	memset(copy, 0x55, stream_len);
	bad_data(&p, copy, stream_len, stream_len);
	for (size_t at = 0; at < stream_len; at += 1 + stream_len / 41) {
		memcpy(copy, stream, stream_len);
		copy[at] ^= 0x10;
		bad_data(&p, copy, stream_len, stream_len);
	}
	/* Cut; with something behind it; another length than was said. */
	bad_data(&p, stream, stream_len - 1, stream_len - 1);
	memcpy(copy, stream, stream_len);
	copy[stream_len] = 0;
	bad_data(&p, copy, stream_len + 1, stream_len + 1);
	bad_data(&p, stream, stream_len, stream_len + 1);
	free(copy);
	pair_down(&p);
}

static void it_stalls(void **state)
{
	struct pair p;

	pair_up(&p, SPEC, SPEC);
	record(&p);
	for (enum until until = NOTHING; until <= END; until++) {
		struct mover m = {.move.options.stall_ms = 300};
		int fd;

		start(&p, &m, &fd);
		play(fd, until);
		/* Who is told why, and hangs up, is not waited for. */
		if (until != END) {
			assert_int_equal(hear_frame(fd, NULL), MOVE_FRAME_NO);
			shutdown(fd, SHUT_WR);
		}
		mover_end(&m);
		assert_int_equal(m.ret, until == END ? -EINPROGRESS : -ETIMEDOUT);
		if (until == END)
			assert_int_equal(vfio_device_resume(p.second, false, &m.err), 0);
		else
			untouched(&p);
		close(fd);
	}
	assert_int_equal(vfio_device_place(p.second), VFIO_GONE);
	pair_down(&p);
}

static void cancelled(void **state)
{
	struct pair p;

	pair_up(&p, SPEC, SPEC);
	record(&p);
	for (enum until until = NOTHING; until <= END; until++) {
		struct mover m = {.ret = 0};
		int fd;

		start(&p, &m, &fd);
		play(fd, until);
		move_cancel(&m.move, false);
		assert_int_equal(hear_frame(fd, NULL), MOVE_FRAME_NO);
		close(fd);
		assert_int_equal(mover_end(&m), -ECANCELED);
		assert_false(m.move.doubt);
		untouched(&p);
	}
	pair_down(&p);
}

/* Somebody has it open. */
static void in_use(void **state)
{
	struct mover m = {.ret = 0};
	struct pair p;
	int fds[2];

	pair_up(&p, SPEC, SPEC);
	socket_pair(fds);
	mover_start(&m, p.first, fds[0], true);
	assert_int_equal(hear_frame(fds[1], NULL), MOVE_FRAME_NO);
	close(fds[1]);
	assert_int_equal(mover_end(&m), -EBUSY);
	still_here(&p);
	pair_down(&p);
}

/* ---- files ---- */

static int file_new(void)
{
	char path[] = "/tmp/uvfio-move.XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	assert_true(fd >= 0);
	unlink(path);
	return fd;
}

/* @fd stays open. */
static int file_move(struct vfio_device *dev, int fd, bool restores, bool again, struct mover *m)
{
	*m = (struct mover){.move.options.again = again};
	lseek(fd, 0, SEEK_SET);
	mover_start(m, dev, fcntl(fd, F_DUPFD_CLOEXEC, 3), restores);
	return mover_end(m);
}

static void a_file(void **state)
{
	struct mover m;
	struct pair p;
	int fd = file_new();

	pair_up(&p, SPEC, SPEC);
	if (file_move(p.first, fd, false, false, &m))
		fail_msg("%s", m.err.msg);
	assert_int_equal(vfio_device_place(p.first), VFIO_GONE);
	assert_int_equal(file_move(p.second, fd, false, false, &m), -EEXIST);
	if (file_move(p.second, fd, true, false, &m))
		fail_msg("%s", m.err.msg);
	assert_int_equal(vfio_device_place(p.second), VFIO_HERE);
	vfio_device_release(p.f.df);
	p.f.df = NULL;
	/* It is not there twice. */
	assert_int_equal(file_move(p.first, fd, true, false, &m), -EALREADY);
	assert_int_equal(vfio_device_place(p.first), VFIO_GONE);
	close(fd);
	pair_down(&p);
}

static void a_bad_file(void **state)
{
	int whole = file_new(), fd;
	static uint8_t bytes[1 << 20];
	struct mover m;
	struct pair p;
	ssize_t len;

	pair_up(&p, SPEC, SPEC);
	assert_int_equal(file_move(p.first, whole, false, false, &m), 0);
	len = pread(whole, bytes, sizeof(bytes), 0);
	assert_true(len > 1000);
	for (ssize_t cut = 0; cut < len; cut += 1 + len / 61) {
		fd = file_new();
		assert_int_equal(write(fd, bytes, (size_t)cut), cut);
		assert_true(file_move(p.second, fd, true, false, &m) < 0);
		assert_false(m.move.doubt);
		close(fd);
	}
	for (ssize_t at = 0; at < len; at += 1 + len / 61) {
		fd = file_new();
		bytes[at] ^= 0x20;
		assert_int_equal(write(fd, bytes, (size_t)len), len);
		bytes[at] ^= 0x20;
		assert_true(file_move(p.second, fd, true, false, &m) < 0);
		close(fd);
	}
	/* One whose saving broke off. */
	fd = file_new();
	bytes[12] = MOVE_FILE_PART;
	assert_int_equal(write(fd, bytes, (size_t)len), len);
	assert_int_equal(file_move(p.second, fd, true, false, &m), -EINVAL);
	expect(&m, "not completed");
	close(fd);
	untouched(&p);
	/* Once more from one that it was taken from, when that is asked for. */
	assert_int_equal(file_move(p.second, whole, true, false, &m), 0);
	vfio_device_release(p.f.df);
	p.f.df = NULL;
	assert_int_equal(file_move(p.first, whole, true, true, &m), 0);
	close(whole);
	pair_down(&p);
}

/* What is neither is refused before anything is done. */
static void no_stream(void **state)
{
	struct move move = {.fd = -1};
	struct uvfio_error err;
	int fds[2];

	assert_int_equal(move_init(&move, &err), -EBADF);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	move.fd = fds[0];
	assert_int_equal(move_init(&move, &err), -EINVAL);
	move_fini(&move);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(taken),          cmocka_unit_test(it_goes),
		cmocka_unit_test(it_says_no),     cmocka_unit_test(it_lies),
		cmocka_unit_test(another_device), cmocka_unit_test(wrong_data),
		cmocka_unit_test(it_stalls),      cmocka_unit_test(cancelled),
		cmocka_unit_test(in_use),         cmocka_unit_test(a_file),
		cmocka_unit_test(a_bad_file),     cmocka_unit_test(no_stream),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
