/* SPDX-License-Identifier: BSD-3-Clause */
/* src/vfio/move.c and hold.c: an operator moves a device, whose user waits meanwhile. */
#include "vfio_fixture.h"

#include "devices/pcitest/pcitest_model.h"
#include "devices/pcitest/pcitest_spec.h"
#include "vfio/inject.h"
#include "vfio/keep.h"
#include "vfio/move.h"
#include "vfio/observe.h"
#include "vfio/vfio_uapi.h"

#define FIRST  "0000:01:00.0"
#define SECOND "0000:02:00.0"

static uint8_t stream[1 << 20];
static size_t stream_len;

/* Two of them; the first is open and at work. */
static struct vfio_device *up(struct fixture *f, const char *spec, const char *other)
{
	struct vfio_device *dev;

	fixture_machine(f);
	assert_int_equal(vfio_machine_add_model(f->machine, &pcitest_model), 0);
	fixture_add(f, spec);
	fixture_add(f, other);
	fixture_open(f);
	config_put(f, PCI_COMMAND, 2, COMMAND_ON);
	bar_put(f, 0, PCITEST_SCRATCH, 8, 0x1122334455667788);
	bar_put(f, 2, 4096, 8, 42);
	dev = vfio_machine_get_device(f->machine, SECOND);
	assert_non_null(dev);
	return dev;
}

static void down(struct fixture *f, struct vfio_device *second)
{
	vfio_device_put(second);
	fixture_close(f);
}

static struct vfio_move *begin(struct vfio_device *dev, enum vfio_move_kind kind)
{
	struct uvfio_error err = {""};
	struct vfio_move *move = NULL;

	if (vfio_move_begin(dev, kind, &move, &err))
		fail_msg("%s", err.msg);
	return move;
}

static int begin_error(struct vfio_device *dev, enum vfio_move_kind kind)
{
	struct uvfio_error err = {""};
	struct vfio_move *move = NULL;
	int ret = vfio_move_begin(dev, kind, &move, &err);

	assert_int_not_equal(ret, 0);
	assert_true(err.msg[0]);
	assert_null(move);
	return ret;
}

/* Read what there is: 0 at the end, -ENOMSG when there is no more now. */
static int drain(struct vfio_move *move)
{
	for (;;) {
		ssize_t n = vfio_move_read(move, stream + stream_len, 1000);

		if (n <= 0)
			return (int)n;
		stream_len += (size_t)n;
		assert_true(stream_len + 1000 < sizeof(stream));
	}
}

static struct vfio_move *save_all(struct vfio_device *dev)
{
	struct vfio_move *move = begin(dev, VFIO_MOVE_SAVE);
	struct uvfio_error err;

	stream_len = 0;
	assert_int_equal(drain(move), -ENOMSG);
	assert_int_equal(vfio_move_pause(move, &err), 0);
	assert_int_equal(drain(move), 0);
	return move;
}

static struct vfio_move *load_all(struct vfio_device *dev)
{
	struct vfio_move *move = begin(dev, VFIO_MOVE_LOAD);
	struct uvfio_error err = {""};

	assert_int_equal(vfio_move_loaded(move, &err), -EINVAL);
	for (size_t at = 0; at < stream_len; at += 777) {
		size_t n = stream_len - at < 777 ? stream_len - at : 777;

		if (vfio_move_write(move, stream + at, n, &err) != (ssize_t)n)
			fail_msg("%s", err.msg);
	}
	assert_int_equal(vfio_move_loaded(move, &err), 0);
	return move;
}

/* Open the second device in the place of the first. */
static int open_second(struct fixture *f)
{
	static const char name[] = SECOND;
	int ret;

	vfio_device_release(f->df);
	vfio_group_release(f->gf);
	f->df = NULL;
	assert_int_equal(vfio_group_open(f->machine, 2, &f->gf), 0);
	assert_int_equal(vfio_group_set_container(f->gf, f->container), 0);
	assert_int_equal(
		vfio_container_ioctl(f->container, f->client, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU),
		0);
	ret = vfio_group_get_device(f->gf, f->client, (uintptr_t)name, &f->df);
	if (!ret)
		f->dev = vfio_device_file_device(f->df);
	return ret;
}

static void nobody_else_moves_it(struct fixture *f)
{
	struct {
		struct vfio_device_feature hdr;
		struct vfio_device_feature_mig_state state;
	} set = {{sizeof(set), VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE},
		 {VFIO_DEVICE_STATE_STOP, -1}};
	struct vfio_client_ops ops = client_ops;

	ops.give_migration =
		(int (*)(struct vfio_client *, struct vfio_migration_file *, int32_t *))abort;
	f->tc.client.ops = &ops;
	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_FEATURE, &set), -EBUSY);
	f->tc.client.ops = &client_ops;
}

static void moved(void **state)
{
	struct uvfio_error err = {""};
	struct vfio_move *out, *in;
	struct vfio_device *second;
	struct mig_left left;
	struct fixture f;

	second = up(&f, "pcitest,memory=64K", "pcitest,memory=64K");
	assert_int_equal(begin_error(f.dev, VFIO_MOVE_LOAD), -EBUSY); /* in use */
	out = begin(f.dev, VFIO_MOVE_SAVE);
	assert_int_equal(vfio_device_place(f.dev), VFIO_LEAVING);
	assert_int_equal(begin_error(f.dev, VFIO_MOVE_SAVE), -EBUSY);
	nobody_else_moves_it(&f);
	stream_len = 0;
	assert_int_equal(vfio_move_left(out, &left), 0);
	assert_true(left.initial >= 65536);
	assert_int_equal(drain(out), -ENOMSG);
	/* It runs; what changes goes again. */
	bar_put(&f, 2, 8192, 8, 43);
	bar_put(&f, 0, PCITEST_SCRATCH, 8, 7);
	assert_int_equal(vfio_move_pause(out, &err), 0);
	assert_int_equal(vfio_move_left(out, &left), -EINVAL);
	assert_int_equal(drain(out), 0);
	in = load_all(second);
	assert_int_equal(vfio_device_place(second), VFIO_ARRIVING);
	assert_int_equal(begin_error(second, VFIO_MOVE_LOAD), -EBUSY);
	assert_int_equal(vfio_move_give(out, &err), 0);
	assert_int_equal(vfio_device_place(f.dev), VFIO_IN_DOUBT);
	if (vfio_move_take(in, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(vfio_move_end(in, VFIO_MOVE_BACK, &err), 0);
	assert_int_equal(vfio_device_place(second), VFIO_HERE);
	assert_int_equal(vfio_move_end(out, VFIO_MOVE_GONE, &err), 0);
	assert_int_equal(vfio_device_place(f.dev), VFIO_GONE);
	assert_string_equal(vfio_place_name(VFIO_GONE), "gone");

	/* Nobody answers here any more, and nothing brings it back but the host. */
	assert_int_equal(bar_get(&f, 0, PCITEST_SCRATCH, 4), 0xffffffff);
	assert_int_not_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(begin_error(f.dev, VFIO_MOVE_SAVE), -EBUSY);
	assert_int_equal(vfio_device_resume(f.dev, true, &err), -EINVAL);
	vfio_device_release(f.df);
	f.df = NULL;
	assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t)FIRST, &f.df), -EBUSY);
	assert_int_equal(vfio_device_host_reset(f.dev), 0);
	assert_int_equal(vfio_device_place(f.dev), VFIO_HERE);
	assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t)FIRST, &f.df), 0);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(bar_get(&f, 0, PCITEST_SCRATCH, 4), 0);
	down(&f, second);
}

/* Where it has gone from, it can come back to; its user follows it. */
static void there_and_back(void **state)
{
	struct uvfio_error err = {""};
	struct vfio_move *out, *in;
	struct vfio_device *first, *second;
	struct fixture f;

	second = up(&f, "pcitest,memory=64K", "pcitest,memory=64K");
	first = f.dev;
	bar_put(&f, 2, 8192, 8, 43);
	out = save_all(first);
	in = load_all(second);
	assert_int_equal(vfio_move_give(out, &err), 0);
	assert_int_equal(vfio_move_take(in, &err), 0);
	assert_int_equal(vfio_move_end(out, VFIO_MOVE_GONE, &err), 0);
	assert_int_equal(vfio_move_end(in, VFIO_MOVE_BACK, &err), 0);
	/* It would not be known what its user has of it. */
	assert_int_equal(begin_error(second, VFIO_MOVE_SAVE), -EBUSY);
	f.tc.client.continues = true;
	assert_int_equal(open_second(&f), 0);
	assert_true(vfio_device_file_continued(f.df));
	vfio_keep_master(f.df);
	assert_int_equal(config_get(&f, PCI_COMMAND, 2) & COMMAND_ON, COMMAND_ON);
	assert_int_equal(bar_get(&f, 0, PCITEST_SCRATCH, 8), 0x1122334455667788);
	assert_int_equal(bar_get(&f, 2, 4096, 8), 42);
	assert_int_equal(bar_get(&f, 2, 8192, 8), 43);
	bar_put(&f, 2, 0, 8, 44);

	out = save_all(second);
	in = load_all(first);
	assert_int_equal(vfio_move_give(out, &err), 0);
	assert_int_equal(vfio_move_take(in, &err), 0);
	assert_int_equal(vfio_move_end(in, VFIO_MOVE_BACK, &err), 0);
	assert_int_equal(vfio_move_end(out, VFIO_MOVE_GONE, &err), 0);
	assert_int_equal(vfio_device_place(first), VFIO_HERE);
	/* Who does not say that it goes on gets it as after a reset (A.3). */
	vfio_device_release(f.df);
	vfio_group_release(f.gf);
	vfio_container_release(f.container);
	f.tc.client.continues = false;
	fixture_open(&f);
	assert_false(vfio_device_file_continued(f.df));
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(bar_get(&f, 0, PCITEST_SCRATCH, 8), 0);
	down(&f, second);
}

/* ---- the user waits ---- */

struct reader {
	struct fixture *f;
	pthread_t thread;
	uint64_t value;
	uint32_t command;
};

static void *read_both(void *arg)
{
	struct reader *r = arg;

	r->command = config_get(r->f, PCI_COMMAND, 2);
	r->value = bar_get(r->f, 0, PCITEST_SCRATCH, 8);
	return NULL;
}

static void the_user_waits(void **state)
{
	struct uvfio_error err = {""};
	struct vfio_device *second;
	struct reader readers[4];
	struct vfio_move *out;
	uint32_t value;
	struct fixture f;

	second = up(&f, "pcitest,memory=64K", "pcitest,memory=64K");
	out = save_all(f.dev);
	assert_true(vfio_device_sleeps(f.dev));
	assert_int_equal(vfio_device_read_nowait(f.df, VFIO_REGION_OFFSET(0), &value, 4), -EAGAIN);
	assert_int_equal(vfio_device_read_nowait(f.df, VFIO_REGION_OFFSET(7), &value, 4), -EAGAIN);
	for (unsigned i = 0; i < 4; i++) {
		readers[i] = (struct reader){.f = &f};
		assert_int_equal(pthread_create(&readers[i].thread, NULL, read_both, &readers[i]),
				 0);
	}
	assert_int_equal(vfio_move_end(out, VFIO_MOVE_BACK, &err), 0);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(readers[i].thread, NULL);
		assert_int_equal(readers[i].value, 0x1122334455667788);
		assert_int_equal(readers[i].command & COMMAND_ON, COMMAND_ON);
	}
	assert_int_equal(vfio_device_place(f.dev), VFIO_HERE);
	assert_int_equal(vfio_device_read_nowait(f.df, VFIO_REGION_OFFSET(0), &value, 4), 4);
	/* It can be moved again. */
	assert_int_equal(vfio_move_end(save_all(f.dev), VFIO_MOVE_BACK, &err), 0);
	down(&f, second);
}

/* What was pulled out keeps nobody waiting. */
static void pulled_out(void **state)
{
	struct uvfio_error err = {""};
	struct vfio_device *second;
	struct reader reader;
	struct vfio_move *out;
	struct fixture f;

	second = up(&f, "pcitest,memory=64K", "pcitest,memory=64K");
	out = save_all(f.dev);
	reader = (struct reader){.f = &f};
	assert_int_equal(pthread_create(&reader.thread, NULL, read_both, &reader), 0);
	assert_int_equal(vfio_machine_remove_device(f.machine, FIRST, VFIO_REMOVE_SURPRISE, NULL,
						    NULL, &err),
			 0);
	pthread_join(reader.thread, NULL);
	assert_int_equal(reader.value, UINT64_MAX);
	assert_int_equal(vfio_move_read(out, stream, 8), -EIO);
	assert_int_equal(vfio_move_give(out, &err), -EIO);
	vfio_move_end(out, VFIO_MOVE_BACK, &err);
	down(&f, second);
}

/* ---- doubt ---- */

static void doubt_at_the_source(void **state)
{
	struct uvfio_error err = {""};
	struct vfio_device *second;
	struct reader reader;
	struct vfio_move *out;
	struct fixture f;

	second = up(&f, "pcitest,memory=64K", "pcitest,memory=64K");
	for (unsigned here = 0; here < 2; here++) {
		out = save_all(f.dev);
		assert_int_equal(vfio_move_give(out, &err), 0);
		assert_int_equal(vfio_move_end(out, VFIO_MOVE_DOUBT, &err), 0);
		assert_int_equal(vfio_device_place(f.dev), VFIO_IN_DOUBT);
		assert_int_equal(begin_error(f.dev, VFIO_MOVE_SAVE), -EBUSY);
		assert_int_equal(begin_error(f.dev, VFIO_MOVE_LOAD), -EBUSY);
		assert_int_equal(vfio_device_host_reset(f.dev), -EBUSY);
		reader = (struct reader){.f = &f};
		assert_int_equal(pthread_create(&reader.thread, NULL, read_both, &reader), 0);
		assert_int_equal(vfio_device_resume(f.dev, !here, &err), 0);
		pthread_join(reader.thread, NULL);
		assert_int_equal(vfio_device_place(f.dev), here ? VFIO_GONE : VFIO_HERE);
		assert_int_equal(reader.value, here ? UINT64_MAX : 0x1122334455667788);
	}
	down(&f, second);
}

/* Its user closes it before an operator has decided. */
static void closed_in_doubt(void **state)
{
	struct uvfio_error err = {""};
	struct vfio_device *second;
	struct vfio_move *out;
	struct fixture f;

	second = up(&f, "pcitest,memory=64K", "pcitest,memory=64K");
	out = save_all(f.dev);
	assert_int_equal(vfio_move_give(out, &err), 0);
	assert_int_equal(vfio_move_end(out, VFIO_MOVE_DOUBT, &err), 0);
	vfio_device_release(f.df);
	f.df = NULL;
	assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t)FIRST, &f.df), -EBUSY);
	assert_int_equal(vfio_device_resume(f.dev, true, &err), 0);
	assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t)FIRST, &f.df), 0);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(bar_get(&f, 0, PCITEST_SCRATCH, 8), 0);
	down(&f, second);
}

static void doubt_at_the_target(void **state)
{
	struct uvfio_error err = {""};
	struct vfio_device *second;
	struct vfio_move *out;
	struct fixture f;

	second = up(&f, "pcitest,memory=64K", "pcitest,memory=64K");
	out = save_all(f.dev);
	assert_int_equal(vfio_move_end(load_all(second), VFIO_MOVE_DOUBT, &err), 0);
	assert_int_equal(vfio_move_end(out, VFIO_MOVE_BACK, &err), 0);
	assert_int_equal(vfio_device_place(second), VFIO_IN_DOUBT);
	assert_int_equal(begin_error(second, VFIO_MOVE_LOAD), -EBUSY);
	assert_int_equal(open_second(&f), -EBUSY);
	if (vfio_device_resume(second, true, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(vfio_device_place(second), VFIO_HERE);
	assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t)SECOND, &f.df), 0);
	down(&f, second);
}

/* ---- what goes wrong ---- */

static void reset_on_the_way(void **state)
{
	struct uvfio_error err = {""};
	struct vfio_device *second;
	struct vfio_move *out;
	struct fixture f;

	second = up(&f, "pcitest,memory=64K", "pcitest,memory=64K");
	out = begin(f.dev, VFIO_MOVE_SAVE);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(vfio_move_read(out, stream, 8), -ENODEV);
	assert_int_equal(vfio_move_pause(out, &err), -ENODEV);
	assert_int_equal(vfio_move_end(out, VFIO_MOVE_BACK, &err), 0);
	assert_int_equal(vfio_device_place(f.dev), VFIO_HERE);

	out = save_all(f.dev);
	assert_int_equal(vfio_device_host_reset(f.dev), 0);
	assert_int_equal(vfio_move_give(out, &err), -ENODEV);
	assert_int_equal(vfio_move_end(out, VFIO_MOVE_BACK, &err), 0);
	assert_int_equal(bar_get(&f, 0, PCITEST_SCRATCH, 8), 0);

	out = begin(f.dev, VFIO_MOVE_SAVE);
	vfio_device_release(f.df);
	f.df = NULL;
	assert_int_equal(vfio_move_read(out, stream, 8), -ENODEV);
	assert_int_equal(vfio_move_end(out, VFIO_MOVE_BACK, &err), 0);
	/* One that nobody has open is moved, too. */
	out = save_all(f.dev);
	assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t)FIRST, &f.df), -EBUSY);
	assert_int_equal(vfio_move_end(out, VFIO_MOVE_BACK, &err), 0);
	assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t)FIRST, &f.df), 0);
	down(&f, second);
}

/* A stream that the device cannot take changes nothing. */
static void refused(void **state)
{
	struct uvfio_error err = {""};
	struct vfio_device *second;
	struct vfio_move *out, *in;
	struct fixture f;

	second = up(&f, "pcitest,memory=64K", "pcitest,memory=128K");
	out = save_all(f.dev);
	in = begin(second, VFIO_MOVE_LOAD);
	assert_int_equal(vfio_move_write(in, stream, stream_len, &err), -EINVAL);
	assert_true(err.msg[0]);
	assert_int_equal(vfio_move_loaded(in, &err), -EINVAL);
	assert_int_equal(vfio_move_end(in, VFIO_MOVE_BACK, &err), 0);
	assert_int_equal(vfio_device_place(second), VFIO_HERE);
	assert_int_equal(vfio_move_end(out, VFIO_MOVE_BACK, &err), 0);
	assert_int_equal(bar_get(&f, 0, PCITEST_SCRATCH, 8), 0x1122334455667788);
	assert_int_equal(open_second(&f), 0);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(bar_get(&f, 0, PCITEST_SCRATCH, 8), 0);
	down(&f, second);
}

/* Half of a stream is none. */
static void cut_short(void **state)
{
	struct uvfio_error err = {""};
	struct vfio_device *second;
	struct vfio_move *in;
	struct fixture f;

	second = up(&f, "pcitest,memory=64K", "pcitest,memory=64K");
	assert_int_equal(vfio_move_end(save_all(f.dev), VFIO_MOVE_BACK, &err), 0);
	for (size_t len = 0; len < stream_len; len += 1 + stream_len / 97) {
		in = begin(second, VFIO_MOVE_LOAD);
		if (len)
			assert_int_equal(vfio_move_write(in, stream, len, &err), len);
		assert_int_equal(vfio_move_loaded(in, &err), -EINVAL);
		assert_int_equal(vfio_move_take(in, &err), -EINVAL);
		assert_int_equal(vfio_move_end(in, VFIO_MOVE_BACK, &err), 0);
	}
	down(&f, second);
}

static void who_cannot(void **state)
{
	struct vfio_device *second;
	struct fixture f;

	second = up(&f, "pcitest,memory=64K", "probe");
	assert_int_equal(begin_error(second, VFIO_MOVE_SAVE), -EOPNOTSUPP);
	assert_int_equal(begin_error(second, VFIO_MOVE_LOAD), -EOPNOTSUPP);
	down(&f, second);
}

/* One that is lost on the way is nobody's to move until it is reset, and does not hang. */
static void lost_on_the_way(void **state)
{
	const uint32_t lost = PCITEST_FAIL_ERRNO(EIO) | PCITEST_FAIL_LOST;
	struct uvfio_error err = {""};
	struct vfio_move *move;
	struct vfio_device *second;
	struct fixture f;

	second = up(&f, "pcitest", "pcitest");
	bar_put(&f, 0, PCITEST_FAIL, 4, PCITEST_FAIL_LEAVE | lost);
	move = begin(f.dev, VFIO_MOVE_SAVE);
	assert_int_equal(vfio_move_pause(move, &err), -EIO);
	assert_int_equal(vfio_move_end(move, VFIO_MOVE_BACK, &err), 0);
	assert_int_equal(vfio_device_place(f.dev), VFIO_HERE);
	assert_int_equal(bar_get(&f, 0, PCITEST_SCRATCH, 4), 0xffffffff);
	assert_int_equal(begin_error(f.dev, VFIO_MOVE_SAVE), -EBUSY);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(bar_get(&f, 0, PCITEST_SCRATCH, 4), 0);
	/* And it can be moved again. */
	vfio_move_end(save_all(f.dev), VFIO_MOVE_BACK, &err);
	assert_int_equal(vfio_device_place(f.dev), VFIO_HERE);
	down(&f, second);
}

/* So is one that nobody has open: it is as after a reset. */
static void lost_alone(void **state)
{
	struct uvfio_error err = {""};
	struct vfio_move *move;
	struct vfio_device *first, *second;
	struct fixture f;

	second = up(&f, "pcitest", "pcitest");
	bar_put(&f, 0, PCITEST_FAIL, 4,
		PCITEST_FAIL_LEAVE | PCITEST_FAIL_ERRNO(EIO) | PCITEST_FAIL_LOST);
	first = f.dev;
	move = begin(first, VFIO_MOVE_SAVE);
	assert_int_equal(vfio_move_pause(move, &err), -EIO);
	assert_int_equal(open_second(&f), 0); /* which lets the first one go */
	assert_int_equal(vfio_move_end(move, VFIO_MOVE_BACK, &err), 0);
	assert_int_equal(vfio_device_place(first), VFIO_HERE);
	vfio_move_end(begin(first, VFIO_MOVE_LOAD), VFIO_MOVE_BACK, &err);
	down(&f, second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moved),
		cmocka_unit_test(lost_on_the_way),
		cmocka_unit_test(lost_alone),
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(the_user_waits),
		cmocka_unit_test(pulled_out),
		cmocka_unit_test(doubt_at_the_source),
		cmocka_unit_test(closed_in_doubt),
		cmocka_unit_test(doubt_at_the_target),
		cmocka_unit_test(reset_on_the_way),
		cmocka_unit_test(refused),
		cmocka_unit_test(cut_short),
		cmocka_unit_test(who_cannot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
