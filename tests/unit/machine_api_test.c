/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uvfio/machine.h as a program has it, linked with libuvfio alone: a machine of one's own, its
 * devices driven through uvfio/driver.h, and calls in a wrong order, from callbacks, after fork(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <uvfio/driver.h>
#include <uvfio/machine.h>

/*
 * The model: BAR 0 has at 0x00 a scratch register, at 0x04 one whose write starts a DMA of 8 bytes
 * from the address at 0x08 to the next 8, at 0x10 one that arms a timer, at 0x14 the number of
 * expirations.  Each ends with vector 0.
 */
enum { SCRATCH = 0x00, GO = 0x04, ADDRESS = 0x08, TIMER = 0x10, FIRED = 0x14 };

struct tdev {
	struct uvfio_device *dev;
	struct uvfio_timer *timer;
	_Atomic uint64_t address;
	atomic_bool go, arm;
	uint32_t fired;
	uint64_t data;
};

/* What callbacks do besides, and what they saw. */
static struct uvfio_machine *victim;
static _Atomic int said[4];

static void try_everything(unsigned slot)
{
	struct uvfio_error err = {""};
	int ret = uvfio_machine_free(victim);

	if (ret == -EDEADLK)
		ret = uvfio_machine_add(victim, "tdev", NULL, &err);
	if (ret == -EDEADLK)
		ret = uvfio_machine_remove(victim, "0000:01:00.0", UVFIO_MACHINE_FORCE, NULL, NULL,
					   &err);
	if (ret == -EDEADLK)
		ret = uvfio_machine_reset(victim, "0000:01:00.0", &err);
	if (ret == -EDEADLK)
		ret = uvfio_machine_run(victim);
	if (ret == -EDEADLK && !strstr(err.msg, "callback"))
		ret = -1;
	said[slot] = ret;
}

static void on_timer(void *arg)
{
	struct tdev *t = arg;

	uvfio_reg_set(t->dev, 0, FIRED, 4, ++t->fired);
	uvfio_irq_raise(t->dev, 0);
}

static void tdev_destroy(void *priv)
{
	struct tdev *t = priv;

	uvfio_timer_free(t->timer);
	free(t);
}

static int tdev_create(struct uvfio_device *dev, const struct uvfio_args *args, void **priv,
		       struct uvfio_error *err)
{
	static const struct uvfio_area areas[] = {{0, 0x20, UVFIO_AREA_REGISTERS, 0}};
	const struct uvfio_pci_desc desc = {
		.vendor = 0x1234,
		.device = 0x0001,
		.class_code = 0xff0000,
		.bars[0] = {4096, UVFIO_BAR_MEM32, areas, 1},
		.bars[2] = {4096, UVFIO_BAR_MEM32, NULL, 0},
		.msix_vectors = 2,
		.msix_bar = 2,
		.msix_table = 0,
		.msix_pba = 2048,
		.pcie = true,
		.flr = true,
	};
	struct tdev *t = calloc(1, sizeof(*t));
	int ret;

	assert_non_null(t);
	t->dev = dev;
	ret = uvfio_device_init(dev, &desc, err);
	assert_int_equal(ret, 0);
	t->timer = uvfio_timer_new(dev, on_timer, t);
	assert_non_null(t->timer);
	if (victim)
		try_everything(0);
	*priv = t;
	return 0;
}

static void tdev_write(void *priv, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct tdev *t = priv;

	if (offset == SCRATCH) {
		if (victim)
			try_everything(1);
		uvfio_reg_set(t->dev, 0, SCRATCH, 4, value);
	} else if (offset == ADDRESS) {
		t->address = value;
	} else if (offset == GO) {
		t->go = true;
		uvfio_kick(t->dev);
	} else if (offset == TIMER) {
		t->arm = true;
		uvfio_kick(t->dev);
	}
}

static bool tdev_work(void *priv)
{
	struct tdev *t = priv;
	struct uvfio_dma op = {.iova = t->address, .buf = &t->data, .len = 8};

	if (victim)
		try_everything(2);
	if (atomic_exchange(&t->arm, false))
		uvfio_timer_arm(t->timer, 1000);
	if (!atomic_exchange(&t->go, false))
		return false;
	/* To memory that is shared as a file, so it is complete at once. */
	if (!uvfio_dma_submit(t->dev, &op)) {
		op.iova += 8;
		op.to_client = true;
		(void)uvfio_dma_submit(t->dev, &op);
	}
	uvfio_irq_raise(t->dev, 0);
	return false;
}

static void tdev_quiesce(void *priv)
{
	struct tdev *t = priv;

	uvfio_timer_cancel(t->timer);
	uvfio_quiesced(t->dev);
}

static void tdev_reset(void *priv, enum uvfio_reset_kind kind)
{
	struct tdev *t = priv;

	t->fired = 0;
	uvfio_reg_set(t->dev, 0, SCRATCH, 4, 0);
	uvfio_reg_set(t->dev, 0, FIRED, 4, 0);
}

static const struct uvfio_model tdev = {
	.abi = UVFIO_DEVICE_ABI,
	.name = "tdev",
	.summary = "for tests",
	.create = tdev_create,
	.destroy = tdev_destroy,
	.reg_write = tdev_write,
	.work = tdev_work,
	.quiesce = tdev_quiesce,
	.reset = tdev_reset,
};

/* ---- */

static struct uvfio_machine *machine_with(const char *options, const char *spec, char *name)
{
	struct uvfio_machine *machine = NULL;
	struct uvfio_error err = {""};

	if (uvfio_machine_new(options, &machine, &err) ||
	    uvfio_machine_add_model(machine, &tdev, &err) ||
	    (spec && uvfio_machine_add(machine, spec, name, &err)))
		fail_msg("%s", err.msg);
	return machine;
}

static struct uvfio_pci *open_device(struct uvfio_machine *machine, const char *name)
{
	struct uvfio_error err = {""};
	struct uvfio_pci *dev = NULL;
	char text[16];
	int fd = uvfio_machine_connect(machine, name, &err);

	if (fd < 0)
		fail_msg("%s", err.msg);
	snprintf(text, sizeof(text), "fd:%d", fd);
	if (uvfio_pci_open(text, NULL, &dev, &err) || uvfio_pci_enable(dev, &err))
		fail_msg("%s", err.msg);
	return dev;
}

static void wait_irq(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&p, 1, 60000), 1);
	assert_true(uvfio_pci_irq_take(fd) > 0);
}

/* Registers, DMA, interrupts, timers of @dev. */
static void exercise(struct uvfio_machine *machine, struct uvfio_pci *dev, const char *name)
{
	int irq = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct uvfio_error err = {""};
	struct uvfio_pci_mem mem;
	uint64_t *data;

	uvfio_pci_write32(dev, UVFIO_PCI_BAR0, SCRATCH, 0x12345678);
	assert_int_equal(uvfio_pci_read32(dev, UVFIO_PCI_BAR0, SCRATCH), 0x12345678);
	assert_int_equal(uvfio_pci_dma_alloc(dev, 4096, 0, &mem, &err), 0);
	data = mem.addr;
	data[0] = 0x1122334455667788;
	assert_int_equal(uvfio_pci_irq_enable(dev, UVFIO_PCI_MSIX, 0, 1, &irq), 0);
	uvfio_pci_write64(dev, UVFIO_PCI_BAR0, ADDRESS, mem.iova);
	uvfio_pci_write32(dev, UVFIO_PCI_BAR0, GO, 1);
	wait_irq(irq);
	assert_true(data[1] == data[0]);

	uvfio_pci_write32(dev, UVFIO_PCI_BAR0, TIMER, 1);
	wait_irq(irq);
	assert_int_equal(uvfio_pci_read32(dev, UVFIO_PCI_BAR0, FIRED), 1);

	/* From outside of the device. */
	assert_int_equal(uvfio_machine_raise(machine, name, 0, &err), 0);
	wait_irq(irq);
	assert_int_equal(uvfio_machine_inject(machine, name, "fault", NULL, 1, 0, &err), 0);
	data[1] = 0;
	uvfio_pci_write32(dev, UVFIO_PCI_BAR0, GO, 1);
	wait_irq(irq);
	assert_true(data[1] == 0);
	assert_int_equal(uvfio_machine_reset(machine, name, &err), 0);
	assert_int_equal(uvfio_pci_read32(dev, UVFIO_PCI_BAR0, SCRATCH), 0);
	close(irq);
}

static void one_process(void **state)
{
	char name[UVFIO_MACHINE_NAME];
	struct uvfio_machine *machine = machine_with(NULL, "tdev", name);
	struct uvfio_pci *dev;

	assert_string_equal(name, "0000:01:00.0");
	for (unsigned i = 0; i < 3; i++) {
		dev = open_device(machine, name);
		assert_int_equal(uvfio_pci_read32(dev, UVFIO_PCI_BAR0, SCRATCH), 0);
		exercise(machine, dev, name);
		uvfio_pci_close(dev);
	}
	assert_int_equal(uvfio_machine_free(machine), 0);
}

static void *run_it(void *arg)
{
	assert_int_equal(uvfio_machine_run(arg), 0);
	return NULL;
}

static void callers_thread(void **state)
{
	char name[UVFIO_MACHINE_NAME];
	struct uvfio_machine *machine = machine_with("loop=caller,log=error", "tdev", name);
	struct pollfd p = {.fd = uvfio_machine_stop_fd(machine), .events = POLLIN};
	struct uvfio_pci *dev;
	pthread_t thread;

	/* A stop that comes first. */
	uvfio_machine_stop(machine);
	assert_int_equal(poll(&p, 1, 0), 1);
	assert_int_equal(uvfio_machine_run(machine), 0);
	assert_int_equal(poll(&p, 1, 0), 0);

	assert_int_equal(pthread_create(&thread, NULL, run_it, machine), 0);
	dev = open_device(machine, name);
	exercise(machine, dev, name);
	assert_int_equal(uvfio_machine_run(machine), -EBUSY);
	uvfio_pci_close(dev);
	uvfio_machine_stop(machine);
	pthread_join(thread, NULL);

	/* Freed while a client is connected, and while somebody runs it. */
	assert_int_equal(pthread_create(&thread, NULL, run_it, machine), 0);
	dev = open_device(machine, name);
	assert_int_equal(uvfio_machine_free(machine), 0);
	pthread_join(thread, NULL);
	assert_int_equal(uvfio_pci_read32(dev, UVFIO_PCI_BAR0, SCRATCH), UINT32_MAX);
	uvfio_pci_close(dev);
}

static void own_threads_run(void **state)
{
	struct uvfio_machine *machine = machine_with(NULL, NULL, NULL);
	pthread_t thread;

	uvfio_machine_stop(machine);
	assert_int_equal(uvfio_machine_run(machine), 0);
	assert_int_equal(pthread_create(&thread, NULL, run_it, machine), 0);
	uvfio_machine_stop(machine);
	pthread_join(thread, NULL);
	assert_int_equal(uvfio_machine_free(machine), 0);
}

static void two_machines(void **state)
{
	char a_name[UVFIO_MACHINE_NAME], b_name[UVFIO_MACHINE_NAME];
	struct uvfio_machine *a = machine_with(NULL, "tdev", a_name);
	struct uvfio_machine *b = machine_with(NULL, "tdev,addr=0000:01:00.0", b_name);
	struct uvfio_pci *in_a = open_device(a, a_name), *in_b = open_device(b, b_name);

	assert_string_equal(a_name, b_name);
	exercise(a, in_a, a_name);
	exercise(b, in_b, b_name);
	uvfio_pci_write32(in_a, UVFIO_PCI_BAR0, SCRATCH, 7);
	assert_int_equal(uvfio_machine_free(b), 0);
	assert_int_equal(uvfio_pci_read32(in_a, UVFIO_PCI_BAR0, SCRATCH), 7);
	assert_int_equal(uvfio_pci_read32(in_b, UVFIO_PCI_BAR0, SCRATCH), UINT32_MAX);
	uvfio_pci_close(in_b);
	uvfio_pci_close(in_a);
	assert_int_equal(uvfio_machine_free(a), 0);
}

static void sockets(void **state)
{
	char dir[] = "/tmp/uvfio-machine-XXXXXX", path[64], spec[128], name[UVFIO_MACHINE_NAME],
	     unix_name[80];
	struct uvfio_machine *machine = machine_with(NULL, NULL, NULL);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct uvfio_error err = {""};
	struct uvfio_pci *dev;
	struct stat st;
	int fd;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/a", dir);
	snprintf(spec, sizeof(spec), "pcitest,socket=%s,mode=0660", path);
	assert_int_equal(uvfio_machine_add(machine, spec, name, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	assert_int_equal(uvfio_machine_add(machine, spec, NULL, &err), -EADDRINUSE);
	snprintf(unix_name, sizeof(unix_name), "unix:%s", path);
	assert_int_equal(uvfio_pci_open(unix_name, NULL, &dev, &err), 0);
	assert_int_equal(uvfio_machine_listen(machine, name, -1, &err), -EBUSY);

	/* A socket of the caller's. */
	assert_int_equal(uvfio_machine_add(machine, "tdev", name, &err), 0);
	assert_int_equal(uvfio_machine_listen(machine, name, dup(2), &err), -EINVAL);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/b", dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(uvfio_machine_listen(machine, name, fd, &err), 0);
	uvfio_pci_close(dev);
	snprintf(unix_name, sizeof(unix_name), "unix:%s/b", dir);
	assert_int_equal(uvfio_pci_open(unix_name, NULL, &dev, &err), 0);
	assert_int_equal(uvfio_pci_enable(dev, &err), 0);
	exercise(machine, dev, name);

	/* Control. */
	snprintf(path, sizeof(path), "%s/control", dir);
	assert_int_equal(uvfio_machine_control(machine, path, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(uvfio_machine_control(machine, path, &err), -EBUSY);

	/* Freed with a client; it removes what it has made, and nothing else. */
	assert_int_equal(uvfio_machine_free(machine), 0);
	uvfio_pci_close(dev);
	assert_int_equal(access(path, F_OK), -1);
	snprintf(path, sizeof(path), "%s/a", dir);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(unlink(addr.sun_path), 0);
	assert_int_equal(rmdir(dir), 0);
}

static void wrong(void **state)
{
	char name[UVFIO_MACHINE_NAME];
	struct uvfio_machine *machine = NULL;
	struct uvfio_model other = tdev;
	struct uvfio_error err = {""};

	assert_int_equal(uvfio_machine_new("loop=mine", &machine, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "own or caller"));
	assert_int_equal(uvfio_machine_new("colour=red", &machine, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "dma_entry_limit"));
	assert_non_null(strstr(err.msg, "loop"));
	assert_int_equal(uvfio_machine_new("log", &machine, &err), -EINVAL);
	assert_int_equal(uvfio_machine_free(NULL), 0);

	machine = machine_with("dma_entry_limit=10,log=off", NULL, NULL);
	assert_int_equal(uvfio_machine_connect(machine, "0000:01:00.0", &err), -ENODEV);
	assert_int_equal(uvfio_machine_listen(machine, "0000:01:00.0", dup(2), &err), -ENODEV);
	assert_int_equal(uvfio_machine_reset(machine, "0000:01:00.0", &err), -ENODEV);
	assert_int_equal(uvfio_machine_raise(machine, "0000:01:00.0", 0, &err), -ENODEV);
	assert_int_equal(uvfio_machine_inject(machine, "x", "fault", NULL, 1, 0, &err), -ENODEV);
	assert_int_equal(
		uvfio_machine_remove(machine, "0000:01:00.0", UVFIO_MACHINE_ASK, NULL, NULL, &err),
		-ENODEV);
	assert_int_equal(uvfio_machine_wait_gone(machine, "0000:01:00.0", -1), 0);
	assert_int_equal(uvfio_machine_add(machine, "nosuch", name, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "tdev"));
	assert_int_equal(uvfio_machine_add(machine, "./none.so,a=b", name, &err), -ENOEXEC);
	assert_int_equal(uvfio_machine_add(machine, "tdev,socket=fd:3", name, &err), -EINVAL);
	assert_int_equal(uvfio_machine_add(machine, "tdev,socket=/nowhere/x", name, &err), -ENOENT);

	assert_int_equal(uvfio_machine_add_model(machine, &tdev, &err), 0); /* again */
	assert_int_equal(uvfio_machine_add_model(machine, &other, &err), -EEXIST);
	other.abi--;
	assert_int_equal(uvfio_machine_add_model(machine, &other, &err), -ENOEXEC);
	other = tdev;
	other.quiesce = NULL;
	assert_int_equal(uvfio_machine_add_model(machine, &other, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "quiesce"));

	assert_int_equal(uvfio_machine_add(machine, "tdev", name, &err), 0);
	assert_int_equal(uvfio_machine_inject(machine, name, "rain", NULL, 1, 0, &err), -EINVAL);
	assert_int_equal(uvfio_machine_inject(machine, name, "aer", NULL, 1, 0, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "CmpltTO"));
	assert_int_equal(
		uvfio_machine_inject(machine, name, "slow-mmio", NULL, 1, 1ull << 40, &err),
		-EINVAL);
	assert_int_equal(uvfio_machine_remove(machine, name, (enum uvfio_machine_removal)7, NULL,
					      NULL, &err),
			 -EINVAL);
	assert_int_equal(uvfio_machine_free(machine), 0);

	/* Descriptors that are none. */
	struct uvfio_pci *dev;

	assert_int_equal(uvfio_pci_open("fd:", NULL, &dev, &err), -EINVAL);
	assert_int_equal(uvfio_pci_open("fd:7x", NULL, &dev, &err), -EINVAL);
	assert_int_equal(uvfio_pci_open("fd:999999", NULL, &dev, &err), -EBADF);
	assert_int_equal(uvfio_pci_open("fd:2", NULL, &dev, &err), -ENOTSOCK);
	assert_true(fcntl(2, F_GETFD) >= 0);
}

static void a_second_client(void **state)
{
	char name[UVFIO_MACHINE_NAME], text[16];
	struct uvfio_machine *machine = machine_with(NULL, "tdev", name);
	struct uvfio_pci *dev = open_device(machine, name), *second;
	struct uvfio_error err = {""};
	int fd = uvfio_machine_connect(machine, name, &err);

	assert_true(fd >= 0);
	snprintf(text, sizeof(text), "fd:%d", fd);
	assert_int_equal(uvfio_pci_open(text, NULL, &second, &err), -EBUSY);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(uvfio_pci_reconnect(dev, 0, &err), -EOPNOTSUPP);
	uvfio_pci_close(dev);
	uvfio_pci_close(open_device(machine, name));
	assert_int_equal(uvfio_machine_free(machine), 0);
}

/* ---- removing ---- */

static void count_gone(void *arg, const char *name)
{
	assert_string_equal(name, "0000:01:00.0");
	try_everything(3);
	atomic_fetch_add((atomic_int *)arg, 1);
}

static void removal(void **state)
{
	int req = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	char name[UVFIO_MACHINE_NAME];
	struct uvfio_machine *machine = machine_with("log=off", "tdev", name);
	struct uvfio_error err = {""};
	struct uvfio_pci *dev = open_device(machine, name);
	atomic_int gone = 0;

	said[3] = 0;
	victim = machine;
	assert_int_equal(uvfio_pci_irq_enable(dev, UVFIO_PCI_REQ, 0, 1, &req), 0);
	assert_int_equal(
		uvfio_machine_remove(machine, name, UVFIO_MACHINE_ASK, count_gone, &gone, &err), 0);
	wait_irq(req);
	assert_int_equal(uvfio_machine_wait_gone(machine, name, 1), -ETIMEDOUT);
	assert_int_equal(gone, 0);
	assert_int_equal(uvfio_machine_connect(machine, name, &err), -ENODEV);
	assert_int_equal(uvfio_machine_remove(machine, name, UVFIO_MACHINE_ASK, NULL, NULL, &err),
			 -EALREADY);
	uvfio_pci_close(dev);
	assert_int_equal(uvfio_machine_wait_gone(machine, name, -1), 0);
	assert_int_equal(gone, 1);
	assert_int_equal(said[3], -EDEADLK);
	victim = NULL;

	/* Its place is free; this time it is pulled out. */
	assert_int_equal(uvfio_machine_add(machine, "tdev,addr=0000:01:00.0", name, &err), 0);
	dev = open_device(machine, name);
	assert_int_equal(
		uvfio_machine_remove(machine, name, UVFIO_MACHINE_SURPRISE, NULL, NULL, &err), 0);
	while (uvfio_pci_read32(dev, UVFIO_PCI_BAR0, SCRATCH) != UINT32_MAX)
		;
	/* And its connection closed. */
	assert_int_equal(uvfio_machine_remove(machine, name, UVFIO_MACHINE_FORCE, NULL, NULL, &err),
			 0);
	assert_int_equal(uvfio_machine_wait_gone(machine, name, -1), 0);
	uvfio_pci_close(dev);

	/* One that nobody has; and one that is asked for when the machine goes. */
	assert_int_equal(uvfio_machine_add(machine, "tdev", name, &err), 0);
	assert_int_equal(uvfio_machine_remove(machine, name, UVFIO_MACHINE_ASK, NULL, NULL, &err),
			 0);
	assert_int_equal(uvfio_machine_wait_gone(machine, name, -1), 0);
	assert_int_equal(uvfio_machine_add(machine, "tdev,addr=0000:01:00.0", name, &err), 0);
	dev = open_device(machine, name);
	gone = 0;
	assert_int_equal(
		uvfio_machine_remove(machine, name, UVFIO_MACHINE_ASK, count_gone, &gone, &err), 0);
	victim = machine;
	assert_int_equal(uvfio_machine_free(machine), 0);
	victim = NULL;
	assert_int_equal(gone, 1);
	uvfio_pci_close(dev);
	close(req);
}

static void callbacks(void **state)
{
	char name[UVFIO_MACHINE_NAME];
	struct uvfio_error err = {""};
	struct uvfio_pci *dev;

	for (unsigned i = 0; i < 2; i++) {
		const char *options = i ? "loop=caller" : NULL;
		pthread_t thread;

		for (unsigned j = 0; j < 3; j++)
			said[j] = 0;
		victim = machine_with(options, NULL, NULL);
		if (i)
			assert_int_equal(pthread_create(&thread, NULL, run_it, victim), 0);
		assert_int_equal(uvfio_machine_add(victim, "tdev", name, &err), 0);
		assert_int_equal(said[0], -EDEADLK); /* ->create() */
		dev = open_device(victim, name);
		uvfio_pci_write32(dev, UVFIO_PCI_BAR0, SCRATCH, 1);
		assert_int_equal(uvfio_pci_read32(dev, UVFIO_PCI_BAR0, SCRATCH), 1);
		assert_int_equal(said[1], -EDEADLK); /* ->reg_write() */
		exercise(victim, dev, name);
		assert_int_equal(said[2], -EDEADLK); /* ->work() */
		uvfio_pci_close(dev);
		assert_int_equal(uvfio_machine_free(victim), 0);
		if (i)
			pthread_join(thread, NULL);
	}
	victim = NULL;
}

static void after_fork(void **state)
{
	char dir[] = "/tmp/uvfio-machine-XXXXXX", path[64], spec[96], name[UVFIO_MACHINE_NAME];
	struct uvfio_machine *machine = machine_with(NULL, NULL, NULL);
	struct uvfio_error err = {""};
	struct uvfio_pci *dev;
	pid_t pid;
	int status;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/a", dir);
	snprintf(spec, sizeof(spec), "tdev,socket=%s", path);
	assert_int_equal(uvfio_machine_add(machine, spec, name, &err), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		bool good = uvfio_machine_connect(machine, name, &err) == -ECHILD &&
			    strstr(err.msg, "make one here") &&
			    uvfio_machine_add(machine, "tdev", NULL, &err) == -ECHILD &&
			    uvfio_machine_run(machine) == -ECHILD &&
			    uvfio_machine_raise(machine, name, 0, &err) == -ECHILD &&
			    uvfio_machine_free(machine) == -ECHILD;

		uvfio_machine_stop(machine);
		_exit(good ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(access(path, F_OK), 0);
	dev = open_device(machine, name);
	exercise(machine, dev, name);
	uvfio_pci_close(dev);
	assert_int_equal(uvfio_machine_free(machine), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(rmdir(dir), 0);
}

/* A DMA space of devices of several machines, as many as there can be. */
static void dma_space(void **state)
{
	enum { MOST = 64 };
	struct uvfio_machine *machines[2] = {machine_with("log=off", NULL, NULL),
					     machine_with("log=off,loop=own", NULL, NULL)};
	char names[MOST + 1][UVFIO_MACHINE_NAME], text[16];
	struct uvfio_pci *devs[MOST], *none;
	struct uvfio_dma_space *space;
	struct uvfio_error err = {""};
	struct uvfio_pci_mem mem;
	uint64_t *data;
	int ret;

	assert_int_equal(uvfio_dma_space_new(&space, &err), 0);
	assert_int_equal(uvfio_dma_space_alloc(space, 4096, 0, &mem, &err), 0);
	data = mem.addr;
	for (unsigned i = 0; i <= MOST; i++) {
		struct uvfio_machine *machine = machines[i % 2];

		assert_int_equal(uvfio_machine_add(machine, "tdev", names[i], &err), 0);
		snprintf(text, sizeof(text), "fd:%d",
			 uvfio_machine_connect(machine, names[i], &err));
		ret = uvfio_pci_open_in(space, text, NULL, i < MOST ? &devs[i] : &none, &err);
		assert_int_equal(ret, i < MOST ? 0 : -ENOSPC);
		if (i < MOST)
			assert_int_equal(uvfio_pci_enable(devs[i], &err), 0);
	}
	assert_non_null(strstr(err.msg, "64"));
	/* Each one hands on what the one before it has left. */
	data[0] = 0x5a5a1234;
	for (unsigned i = 0; i < MOST; i++) {
		uvfio_pci_write64(devs[i], UVFIO_PCI_BAR0, ADDRESS, mem.iova + i * 8);
		uvfio_pci_write32(devs[i], UVFIO_PCI_BAR0, GO, 1);
		(void)uvfio_pci_read32(devs[i], UVFIO_PCI_BAR0, SCRATCH);
	}
	assert_true(data[MOST] == 0x5a5a1234);
	uvfio_dma_space_free(space);
	for (unsigned i = 0; i < MOST; i++)
		uvfio_pci_close(devs[i]);
	assert_int_equal(uvfio_machine_free(machines[0]), 0);
	assert_int_equal(uvfio_machine_free(machines[1]), 0);
}

/* Threads that open, use and close while devices come and go. */
static void *busy(void *arg)
{
	struct uvfio_machine *machine = arg;

	for (unsigned i = 0; i < 30; i++) {
		struct uvfio_error err = {""};
		char name[UVFIO_MACHINE_NAME];
		struct uvfio_pci *dev;

		if (uvfio_machine_add(machine, "tdev", name, &err))
			return "add";
		dev = open_device(machine, name);
		uvfio_pci_write32(dev, UVFIO_PCI_BAR0, SCRATCH, i);
		if (uvfio_pci_read32(dev, UVFIO_PCI_BAR0, SCRATCH) != i)
			return "scratch";
		if (uvfio_machine_remove(machine, name,
					 i % 2 ? UVFIO_MACHINE_FORCE : UVFIO_MACHINE_ASK, NULL,
					 NULL, &err))
			return "remove";
		uvfio_pci_close(dev);
		if (i % 3 && uvfio_machine_wait_gone(machine, name, -1))
			return "wait";
	}
	return NULL;
}

static void many_threads(void **state)
{
	struct uvfio_machine *machine = machine_with("log=off", NULL, NULL);
	pthread_t threads[4];
	void *what;

	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, busy, machine), 0);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(threads[i], &what);
		if (what)
			fail_msg("%s", (char *)what);
	}
	assert_int_equal(uvfio_machine_free(machine), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_process),     cmocka_unit_test(callers_thread),
		cmocka_unit_test(own_threads_run), cmocka_unit_test(two_machines),
		cmocka_unit_test(sockets),         cmocka_unit_test(wrong),
		cmocka_unit_test(a_second_client), cmocka_unit_test(removal),
		cmocka_unit_test(callbacks),       cmocka_unit_test(after_fork),
		cmocka_unit_test(many_threads),    cmocka_unit_test(dma_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
