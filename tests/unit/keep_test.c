/* SPDX-License-Identifier: BSD-3-Clause */
/* src/vfio/keep.c, src/pci/keep.c, src/irq/keep.c: what a device's user sees is taken along. */
#include "vfio_fixture.h"
#include "irq/keep.h"
#include "vfio/keep.h"
#include "vfio/machine_private.h"

/* ---- a stream, and what is done with it ---- */

static struct mig_buf save(struct fixture *f)
{
	struct mig_writer w;
	struct mig_buf buf;

	mig_buf_init(&buf, 1u << 20);
	mig_writer_init(&w, &buf, "probe");
	pthread_mutex_lock(&f->dev->config_lock);
	assert_int_equal(vfio_keep_save(f->dev, &w), 0);
	pthread_mutex_unlock(&f->dev->config_lock);
	assert_int_equal(mig_writer_end(&w), 0);
	return buf;
}

struct loading {
	struct vfio_device *dev;
	unsigned only; /* a tag; 0: all */
};

static int on_header(void *arg, const char *model, struct uvfio_error *err)
{
	return 0;
}

static int on_section(void *arg, struct mig_section *section, struct uvfio_error *err)
{
	struct loading *l = arg;

	if (l->only && section->tag != l->only)
		return 0;
	return vfio_keep_load(l->dev, section, err);
}

static const struct mig_reader_ops reader_ops = {on_header, on_section};

static int load_only(struct vfio_device *dev, const struct mig_buf *buf, unsigned only,
		     struct uvfio_error *err)
{
	struct loading l = {dev, only};
	struct mig_reader *reader = mig_reader_new(&reader_ops, &l);
	int ret;

	assert_non_null(reader);
	pthread_mutex_lock(&dev->config_lock);
	ret = mig_reader_feed(reader, buf->bytes, buf->len, err);
	if (!ret)
		ret = vfio_keep_check(dev, true, err);
	if (!ret)
		vfio_keep_commit(dev);
	pthread_mutex_unlock(&dev->config_lock);
	mig_reader_free(reader);
	return ret;
}

static void load(struct vfio_device *dev, const struct mig_buf *buf)
{
	struct uvfio_error err = {""};

	if (load_only(dev, buf, 0, &err))
		fail_msg("%s", err.msg);
}

/* A machine whose device nobody has opened yet. */
static void target_up(struct fixture *f, const char *spec)
{
	struct vfio_device *dev;

	fixture_machine(f);
	nr_probes = 1; /* the source has the first */
	fixture_add(f, spec);
	assert_int_equal(vfio_machine_devices(f->machine, &dev, 1), 1);
	f->dev = dev;
	f->tc.client.continues = true;
}

static void target_open(struct fixture *f)
{
	struct vfio_device *dev = f->dev;

	fixture_open(f);
	assert_ptr_equal(f->dev, dev);
	f->probe = probes[1];
}

/* ---- interrupts ---- */

static int set_irqs(struct fixture *f, unsigned index, uint32_t flags, unsigned start,
		    unsigned count, const int32_t *fds)
{
	struct {
		struct vfio_irq_set set;
		int32_t fds[8];
	} req = {.set = {.argsz = sizeof(req.set),
			 .flags = flags,
			 .index = index,
			 .start = start,
			 .count = count}};

	if (fds) {
		memcpy(req.fds, fds, count * sizeof(*fds));
		req.set.argsz += count * (uint32_t)sizeof(*fds);
	}
	return dev_ioctl(f, VFIO_DEVICE_SET_IRQS, &req);
}

#define EVENTFD (VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER)
#define NO_DATA VFIO_IRQ_SET_DATA_NONE

static uint64_t taken(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

/* The eventfds of @arg's device. */
static int take(void *arg, unsigned index, unsigned vector)
{
	struct fixture *source = arg;

	return vfio_keep_eventfd(source->dev, index, vector);
}

static void go_on(struct fixture *to, struct fixture *from)
{
	assert_int_equal(vfio_keep_irqs(to->df, take, from), 0);
	vfio_keep_master(to->df);
}

static void assert_same_stream(struct fixture *a, struct fixture *b)
{
	struct mig_buf one = save(a), two = save(b);

	assert_int_equal(one.len, two.len);
	for (size_t i = 0; i < one.len; i++)
		if (one.bytes[i] != two.bytes[i])
			fail_msg("byte 0x%zx of the stream is 0x%02x and was 0x%02x", i,
				 two.bytes[i], one.bytes[i]);
	mig_buf_fini(&one);
	mig_buf_fini(&two);
}

/* ---- tests ---- */

static void test_continue(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK), err_fd = eventfd(0, EFD_NONBLOCK);
	int32_t fds[3] = {fd, -1, fd};
	struct fixture a, b;
	struct mig_buf buf;

	fixture_up(&a, "probe");
	config_put(&a, PCI_COMMAND, 2, COMMAND_ON | PCI_COMMAND_SERR);
	config_put(&a, PCI_INTERRUPT_LINE, 1, 0x5a);
	config_put(&a, PCI_BASE_ADDRESS_0, 4, 0xfedc0000);
	config_put(&a, PCI_CACHE_LINE_SIZE, 1, 16);
	assert_int_equal(set_irqs(&a, VFIO_PCI_MSIX_IRQ_INDEX, EVENTFD, 0, 3, fds), 0);
	fds[0] = err_fd;
	assert_int_equal(set_irqs(&a, VFIO_PCI_ERR_IRQ_INDEX, EVENTFD, 0, 1, fds), 0);
	/* One without an eventfd becomes pending, one is masked in the table. */
	assert_int_equal(probe_command(&a, CMD_IRQ, 0, 1), 0);
	irq_msix_table_write(a.dev->irqs, 2 * 16 + 12, 1);
	assert_int_equal(probe_command(&a, CMD_IRQ, 0, 2), 0);
	buf = save(&a);

	target_up(&b, "probe");
	load(b.dev, &buf);
	target_open(&b);
	assert_true(vfio_device_file_continued(b.df));
	assert_int_equal(b.probe->resets[UVFIO_RESET_OPEN], 0);
	/* No DMA and no messages before the user says so. */
	assert_int_equal(config_get(&b, PCI_COMMAND, 2),
			 (COMMAND_ON | PCI_COMMAND_SERR) & ~PCI_COMMAND_MASTER);
	assert_false(b.probe->running);
	assert_int_equal(irq_active(b.dev->irqs, NULL), -1);
	assert_int_equal(config_get(&b, PCI_INTERRUPT_LINE, 1), 0x5a);
	assert_int_equal(config_get(&b, PCI_BASE_ADDRESS_0, 4) & ~15u, 0xfedc0000);
	assert_int_equal(irq_msix_pba_read(b.dev->irqs, 0), 6);
	go_on(&b, &a);
	assert_true(b.probe->running);
	assert_int_equal(irq_active(b.dev->irqs, NULL), VFIO_PCI_MSIX_IRQ_INDEX);
	assert_same_stream(&a, &b);
	assert_int_equal(taken(fd), 0);
	/* It is delivered once, when its mask goes. */
	irq_msix_table_write(b.dev->irqs, 2 * 16 + 12, 0);
	assert_int_equal(taken(fd), 1);
	assert_int_equal(irq_msix_pba_read(b.dev->irqs, 0), 2);
	assert_true(irq_signal_err(b.dev->irqs));
	assert_int_equal(taken(err_fd), 1);
	/* Only once. */
	assert_int_equal(vfio_keep_irqs(b.df, take, &a), -EINVAL);
	mig_buf_fini(&buf);
	fixture_close(&a);
	fixture_close(&b);
	close(fd);
	close(err_fd);
}

/* A client that sets up its interrupts itself finds what was pending. */
static void test_reconnect(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	int32_t fds[2] = {-1, -1};
	struct fixture a, b;
	struct mig_buf buf;

	fixture_up(&a, "probe");
	config_put(&a, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(set_irqs(&a, VFIO_PCI_MSIX_IRQ_INDEX, EVENTFD, 0, 2, fds), 0);
	assert_int_equal(probe_command(&a, CMD_IRQ, 0, 1), 0);
	buf = save(&a);
	target_up(&b, "probe");
	load(b.dev, &buf);
	target_open(&b);
	fds[1] = fd;
	assert_int_equal(set_irqs(&b, VFIO_PCI_MSIX_IRQ_INDEX, EVENTFD, 0, 2, fds), 0);
	assert_int_equal(taken(fd), 0);
	config_put(&b, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(taken(fd), 1);
	assert_true(b.probe->running);
	mig_buf_fini(&buf);
	fixture_close(&a);
	fixture_close(&b);
	close(fd);
}

static void intx_through(bool masked)
{
	int fd = eventfd(0, EFD_NONBLOCK), unmask = eventfd(0, EFD_NONBLOCK);
	struct fixture a, b;
	struct mig_buf buf;
	int32_t n = fd;

	fixture_up(&a, "probe");
	config_put(&a, PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(set_irqs(&a, VFIO_PCI_INTX_IRQ_INDEX, EVENTFD, 0, 1, &n), 0);
	n = unmask;
	assert_int_equal(set_irqs(&a, VFIO_PCI_INTX_IRQ_INDEX,
				  VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, &n),
			 0);
	if (masked)
		config_put(&a, PCI_COMMAND, 2, COMMAND_ON | PCI_COMMAND_INTX_DISABLE);
	else
		assert_int_equal(set_irqs(&a, VFIO_PCI_INTX_IRQ_INDEX,
					  NO_DATA | VFIO_IRQ_SET_ACTION_MASK, 0, 1, NULL),
				 0);
	irq_intx_level(a.dev->irqs, true);
	assert_int_equal(taken(fd), 0);
	buf = save(&a);
	target_up(&b, "probe");
	load(b.dev, &buf);
	target_open(&b);
	go_on(&b, &a);
	assert_same_stream(&a, &b);
	assert_int_equal(taken(fd), 0);
	assert_int_equal(config_get(&b, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT,
			 PCI_STATUS_INTERRUPT);
	if (masked) {
		assert_int_equal(config_get(&b, PCI_COMMAND, 2),
				 COMMAND_ON | PCI_COMMAND_INTX_DISABLE);
		config_put(&b, PCI_COMMAND, 2, COMMAND_ON);
	} else {
		assert_int_equal(set_irqs(&b, VFIO_PCI_INTX_IRQ_INDEX,
					  NO_DATA | VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, NULL),
				 0);
	}
	assert_int_equal(taken(fd), 1);
	/* The other one's eventfd must not unmask as well: it goes first. */
	fixture_close(&a);
	mig_buf_fini(&buf);
	fixture_close(&b);
	close(fd);
	close(unmask);
}

static void test_intx(void **state)
{
	intx_through(false);
	intx_through(true);
}

/* In D3hot, and back: what D3hot left behind comes along. */
static void test_power(void **state)
{
	struct fixture a, b;
	struct mig_buf buf;
	unsigned pm;

	fixture_up(&a, "probe");
	pm = pci_find_cap(a.dev->func, PCI_CAP_ID_PM);
	config_put(&a, PCI_COMMAND, 2, COMMAND_ON);
	config_put(&a, PCI_CACHE_LINE_SIZE, 1, 32);
	config_put(&a, pm + PCI_PM_CTRL, 2, 3);
	buf = save(&a);
	target_up(&b, "probe");
	load(b.dev, &buf);
	target_open(&b);
	go_on(&b, &a);
	assert_same_stream(&a, &b);
	assert_int_equal(config_get(&b, pm + PCI_PM_CTRL, 2) & 3, 3);
	assert_false(b.probe->running);
	config_put(&b, pm + PCI_PM_CTRL, 2, 0);
	assert_int_equal(config_get(&b, PCI_COMMAND, 2), COMMAND_ON);
	assert_int_equal(config_get(&b, PCI_CACHE_LINE_SIZE, 1), 32);
	assert_true(b.probe->running);
	mig_buf_fini(&buf);
	fixture_close(&a);
	fixture_close(&b);
}

/* An open that does not ask for it, and a reset, find nothing of what was loaded. */
static void test_dropped(void **state)
{
	struct fixture a, b;
	struct mig_buf buf;

	fixture_up(&a, "probe");
	config_put(&a, PCI_COMMAND, 2, COMMAND_ON);
	config_put(&a, PCI_INTERRUPT_LINE, 1, 0x77);
	buf = save(&a);
	for (unsigned i = 0; i < 3; i++) {
		target_up(&b, "probe");
		load(b.dev, &buf);
		if (i == 0)
			b.tc.client.continues = false;
		else if (i == 1)
			assert_int_equal(vfio_device_host_reset(b.dev), 0);
		target_open(&b);
		if (i == 2) {
			/* The second open of it does not continue either. */
			assert_true(vfio_device_file_continued(b.df));
			vfio_device_release(b.df);
			vfio_group_release(b.gf);
			vfio_container_release(b.container);
			target_open(&b);
		}
		assert_false(vfio_device_file_continued(b.df));
		assert_int_equal(config_get(&b, PCI_COMMAND, 2),
				 PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
		assert_int_equal(config_get(&b, PCI_INTERRUPT_LINE, 1), 0);
		assert_int_equal(b.probe->resets[UVFIO_RESET_OPEN], 1);
		fixture_close(&b);
	}
	/* Who was not open when it was saved has nothing to go on with. */
	mig_buf_fini(&buf);
	fixture_close(&a);
	target_up(&a, "probe");
	buf = save(&a);
	target_up(&b, "probe");
	load(b.dev, &buf);
	target_open(&b);
	assert_false(vfio_device_file_continued(b.df));
	mig_buf_fini(&buf);
	fixture_close(&a);
	fixture_close(&b);
}

/* ---- what is refused ---- */

static void test_refused(void **state)
{
	static const char *const others[] = {"probe,nopin=on", "probe,shape=no-soft-reset",
					     "probe,shape=af"};
	struct uvfio_error err = {""};
	struct fixture a, b;
	struct mig_buf buf;

	fixture_up(&a, "probe");
	buf = save(&a);
	/* In use. */
	assert_int_equal(load_only(a.dev, &buf, 0, &err), -EBUSY);
	for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
		target_up(&b, others[i]);
		err.msg[0] = '\0';
		assert_int_equal(load_only(b.dev, &buf, 0, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "another device"));
		target_open(&b);
		assert_false(vfio_device_file_continued(b.df));
		fixture_close(&b);
	}
	target_up(&b, "probe");
	assert_int_equal(load_only(b.dev, &buf, KEEP_TAG_CONFIG, &err), -EINVAL);
	assert_string_equal(err.msg, "the stream has no interrupts");
	fixture_close(&b);
	target_up(&b, "probe");
	assert_int_equal(load_only(b.dev, &buf, KEEP_TAG_IRQS, &err), -EINVAL);
	assert_string_equal(err.msg, "the stream has no config space");
	fixture_close(&b);
	mig_buf_fini(&buf);
	fixture_close(&a);
}

/* A section whose bytes are anything: refused, or the function is in a state that software could
 * have brought it to: what is read-only is as it was. */
static void test_hostile(void **state)
{
	uint8_t before[4096], after[4096], *bytes;
	struct uvfio_error err;
	struct fixture a, b;
	struct mig_buf buf;
	struct mig_section s;
	unsigned loaded = 0;
	size_t at[2], len[2];

	srand(7);
	fixture_up(&a, "probe");
	config_put(&a, PCI_COMMAND, 2, COMMAND_ON);
	buf = save(&a);
	at[0] = MIG_STREAM_HEADER + MIG_SECTION_HEADER;
	len[0] = 4 + 12 + 2 * pci_func_config_size(a.dev->func);
	at[1] = at[0] + len[0] + MIG_SECTION_CHECKSUM + MIG_SECTION_HEADER;
	len[1] = buf.len - at[1] - MIG_SECTION_CHECKSUM;
	target_up(&b, "probe");
	pci_hw_image(b.dev->func, before);
	bytes = malloc(buf.len);
	for (unsigned i = 0; i < 3000; i++) {
		unsigned which = i % 2, n = 1 + (unsigned)rand() % 4;
		size_t cut = i % 5 ? 0 : (size_t)rand() % len[which];

		memcpy(bytes, buf.bytes, buf.len);
		while (n--)
			bytes[at[which] + (size_t)rand() % (len[which] - cut)] = (uint8_t)rand();
		s = (struct mig_section){
			.tag = which ? KEEP_TAG_IRQS : KEEP_TAG_CONFIG,
			.version = 1,
			.in = {bytes + at[which], bytes + at[which] + len[which] - cut, false},
		};
		if (which) /* its end is the stream's */
			s.in.end = bytes + at[1] + 32 + 4 * 8 + 8 * 16 - (cut % 32);
		pthread_mutex_lock(&b.dev->config_lock);
		vfio_keep_drop(b.dev);
		loaded += !vfio_keep_load(b.dev, &s, &err);
		s.tag = which ? KEEP_TAG_CONFIG : KEEP_TAG_IRQS;
		s.in = (struct mig_in){
			buf.bytes + at[!which],
			buf.bytes + at[!which] + (which ? len[0] : 32 + 4 * 8 + 8 * 16), false};
		assert_int_equal(vfio_keep_load(b.dev, &s, &err), 0);
		if (!vfio_keep_check(b.dev, true, &err))
			vfio_keep_commit(b.dev);
		pthread_mutex_unlock(&b.dev->config_lock);
		target_open(&b);
		if (vfio_device_file_continued(b.df))
			assert_int_equal(vfio_keep_irqs(b.df, take, &a), 0);
		vfio_keep_master(b.df);
		vfio_device_release(b.df);
		vfio_group_release(b.gf);
		vfio_container_release(b.container);
	}
	assert_true(loaded > 100 && loaded < 2900);
	b.df = NULL;
	b.gf = NULL;
	b.container = NULL;
	pci_hw_image(b.dev->func, after);
	/* The last close has put back what it is. */
	for (unsigned i = 0; i < sizeof(before); i++)
		if (before[i] != after[i] && i != PCI_COMMAND && i != PCI_COMMAND + 1)
			fail_msg("byte 0x%x is 0x%02x and was 0x%02x", i, after[i], before[i]);
	free(bytes);
	mig_buf_fini(&buf);
	fixture_close(&a);
	fixture_close(&b);
}

/* ---- at random: everything that a user can change ---- */

static void change(struct fixture *f, int fd)
{
	unsigned pm = pci_find_cap(f->dev->func, PCI_CAP_ID_PM),
		 exp = pci_find_cap(f->dev->func, PCI_CAP_ID_EXP);
	unsigned off = (unsigned)rand() % 4096, size = 1u << rand() % 3;
	int32_t fds[8];

	switch (rand() % 8) {
	case 0: /* interrupts */
		for (unsigned i = 0; i < 8; i++)
			fds[i] = rand() % 2 ? fd : -1;
		for (unsigned i = 0; i < 3; i++)
			set_irqs(f, i, NO_DATA | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL);
		off = (unsigned)rand() % 3;
		set_irqs(f, off, EVENTFD, 0, off ? 1 + (unsigned)rand() % 4 : 1, fds);
		break;
	case 1:
		set_irqs(f, 0,
			 NO_DATA | (rand() % 2 ? VFIO_IRQ_SET_ACTION_MASK
					       : VFIO_IRQ_SET_ACTION_UNMASK),
			 0, 1, NULL);
		break;
	case 2:
		irq_msix_table_write(f->dev->irqs, ((unsigned)rand() % 32) * 4, (uint32_t)rand());
		break;
	case 3:
		irq_raise(f->dev->irqs, (unsigned)rand() % 4);
		break;
	case 4:
		config_put(f, pm + PCI_PM_CTRL, 1, rand() % 2 ? 3 : 0);
		break;
	case 5:
		config_put(f, PCI_COMMAND, 2, (uint32_t)rand());
		break;
	default:
		off &= ~(size - 1);
		/* Not a reset. */
		if (off + size <= exp + PCI_EXP_DEVCTL || off >= exp + PCI_EXP_DEVCTL + 2)
			config_put(f, off, size, (uint32_t)rand());
		break;
	}
}

static void test_random(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK);

	srand(42);
	for (unsigned round = 0; round < 60; round++) {
		struct fixture a, b;
		struct mig_buf buf;

		fixture_up(&a, round % 3 == 0   ? "probe,shape=d1-d2"
			       : round % 3 == 1 ? "probe"
						: "probe,shape=no-soft-reset");
		for (unsigned i = 0; i < 60; i++)
			change(&a, fd);
		buf = save(&a);
		target_up(&b, round % 3 == 0   ? "probe,shape=d1-d2"
			      : round % 3 == 1 ? "probe"
					       : "probe,shape=no-soft-reset");
		load(b.dev, &buf);
		target_open(&b);
		assert_true(vfio_device_file_continued(b.df));
		go_on(&b, &a);
		assert_same_stream(&a, &b);
		for (unsigned off = 0; off < 4096; off += 4)
			if (config_get(&a, off, 4) != config_get(&b, off, 4))
				fail_msg("round %u: 0x%x reads as 0x%x and was 0x%x", round, off,
					 config_get(&b, off, 4), config_get(&a, off, 4));
		mig_buf_fini(&buf);
		fixture_close(&a);
		fixture_close(&b);
	}
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_continue), cmocka_unit_test(test_reconnect),
		cmocka_unit_test(test_intx),     cmocka_unit_test(test_power),
		cmocka_unit_test(test_dropped),  cmocka_unit_test(test_refused),
		cmocka_unit_test(test_hostile),  cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
