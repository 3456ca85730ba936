/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Host PCI devices in your own process: a machine with devices of built-in models, of models in
 * shared objects, or of models that are part of your program; served to virtual machines and
 *drivers over vfio-user, and driven by the same process, in a unit test of a model for instance:
 *
 *	struct uvfio_machine *machine;
 *	struct uvfio_error err;
 *	struct uvfio_pci *dev;
 *	char name[UVFIO_MACHINE_NAME], fd[16];
 *
 *	if (uvfio_machine_new(NULL, &machine, &err) ||
 *	    uvfio_machine_add_model(machine, &my_model, &err) ||
 *	    uvfio_machine_add(machine, "mine,key=value", name, &err))
 *		errx(1, "%s", err.msg);
 *	snprintf(fd, sizeof(fd), "fd:%d", uvfio_machine_connect(machine, name, &err));
 *	uvfio_pci_open(fd, NULL, &dev, &err);     // uvfio/driver.h: registers, DMA, interrupts
 *	…
 *	uvfio_pci_close(dev);
 *	uvfio_machine_free(machine);
 *
 * Errors.  Functions return 0 (or what they say) or -errno, and take a struct uvfio_error (may be
 * NULL) for a message that says what was wrong, with what, and what to do.  Besides what they say,
 *all may return -ENOMEM, -EDEADLK (see threads) and -ECHILD (see fork).
 *
 * Threads.  A machine has threads of its own, in which the models' functions run (device.h says
 *how), clients are served and what waits is done; with loop=caller the event loop runs in a thread
 *of yours, in uvfio_machine_run().  All signals are blocked in the machine's threads but those that
 *an instruction raises.  Any thread may call anything; machines have nothing in common.
 * uvfio_machine_free() wants the machine for itself.
 *
 * A callback, which is all code of yours that the library calls (a model's functions, what
 * uvfio_machine_remove() tells), must not wait for what it is itself a part of: there only the
 * functions marked [any] work, the others return -EDEADLK and do nothing.
 *
 * fork(2): the machine stays with the parent.  In a child every function returns -ECHILD;
 * uvfio_machine_free() does too, and touches nothing, sockets in the file system included.  A child
 * that does not exec soon keeps copies of listening sockets: make it before the machine.
 *
 * ABI.  That of the library is its soname, libuvfio.so.0.  Machines are opaque and options are
 *text, so new ones do not change it; a model says which version of device.h it was built with
 * (UVFIO_DEVICE_ABI), which is checked.
 *
 * Trust.  Clients on a socket are not trusted, as those of `uvfio serve`; but the process is not
 * confined, and what a model opens for them it opens with the rights of the process.  The first
 *machine installs a SIGBUS handler, which looks after accesses to memory that a client has cut off,
 *and passes every other SIGBUS on.
 */
#ifndef UVFIO_MACHINE_H
#define UVFIO_MACHINE_H

#include <uvfio/device.h>
#include <uvfio/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct uvfio_machine;

#define UVFIO_MACHINE_NAME 16 /* bytes for a device's name, "0000:01:00.0", with its 0 */

/*
 * Make a machine without devices and set *@out, the caller's until uvfio_machine_free().
 *
 * @options: "key=value" separated by commas, or NULL:
 *	loop=own|caller  who runs the event loop of devices and clients: threads of the machine,
 *	                 or one of yours, in uvfio_machine_run() (own)
 *	log=off|error|warn|info|debug  what is written to standard error (warn)
 *	name=NAME        for people who look at it by control (default: that of the program)
 *	KNOB=VALUE       policy: what `uvfio run --policy` takes, like dma_entry_limit=1000
 *
 * -EINVAL for a wrong key or value, -EAGAIN when threads are lacking.
 */
UVFIO_API int uvfio_machine_new(const char *options, struct uvfio_machine **out,
				struct uvfio_error *err);

/*
 * Close all connections, take every device from its users, destroy the devices, remove the sockets
 * that the machine has made, and free it.  A uvfio_machine_run() that is under way in another
 * thread ends.  Waits for devices to become quiet, and for their ->destroy(); not for clients. NULL
 * is allowed.  0; on -EDEADLK and -ECHILD the machine is as before.
 */
UVFIO_API int uvfio_machine_free(struct uvfio_machine *machine);

/* ---- devices ---- */

/*
 * A model that uvfio_machine_add() can name, besides those of `uvfio models`.  It stays valid until
 * the machine is freed; several machines may have it.  -ENOEXEC when its ABI is another one,
 * -EINVAL when a function that it must have is missing or its name is none; -EEXIST another model
 * has its name.
 */
UVFIO_API int uvfio_machine_add_model(struct uvfio_machine *machine,
				      const struct uvfio_model *model, struct uvfio_error *err);

/*
 * Add a device: "MODEL[,key=value…]", as behind `uvfio serve --device`, in @name its address,
 * unless
 * @name is NULL.  MODEL is one that is built in or was added, or the path, with a '/', of a shared
 * object, which is loaded for good.  A comma in a value is written twice.  With socket=PATH it is
 * served there at once, to one client at a time; mode=, group=NAME, mmap= and spin= concern that
 * (uvfio-serve(1)).
 *
 * -EINVAL with the valid ones named when the model, a key or a value is wrong; -ENOEXEC a shared
 * object that has no model; -EADDRINUSE a server lives at that socket; what the model's ->create()
 * returned.  ->create() runs in the calling thread.
 */
UVFIO_API int uvfio_machine_add(struct uvfio_machine *machine, const char *device,
				char name[UVFIO_MACHINE_NAME], struct uvfio_error *err);

/*
 * Serve device @name on @fd, a listening UNIX stream socket that somebody else has made (systemd,
 * or you, with a name that you choose).  Becomes the machine's in any case.  -ENODEV, -EINVAL not a
 * listening stream socket, -EBUSY the device has a socket.
 */
UVFIO_API int uvfio_machine_listen(struct uvfio_machine *machine, const char *name, int fd,
				   struct uvfio_error *err);

/*
 * A connection to device @name without a socket in the file system, for this process or for one
 * that inherits it: the client's end of a pair, to be used as "fd:NUMBER" with uvfio_pci_open(), or
 * by any vfio-user client.  The caller's descriptor, close-on-exec, or -errno: -ENODEV, -EMFILE.
 *
 * @name may be that of a VF, and have a VF token behind it: "0000:01:00.1 vf_token=UUID", for what
 * needs one (-EACCES else; -EINVAL for one that is not needed).  Without, the PF itself is opened with
 * the token that it was added with (vf_token=, vf_token_file=).
 *
 * Each connection is a client as one on a socket is: a device has one at a time, which begins with
 * its VERSION message (uvfio_pci_open()); another one gets EBUSY then.  Never waits. [any]
 *
 * @name may be a VF's, and end in " vf_token=UUID" as where VFIO takes a name: -EACCES, -EINVAL
 * when that is not what the device wants (docs/sriov.md).
 */
UVFIO_API int uvfio_machine_connect(struct uvfio_machine *machine, const char *name,
				    struct uvfio_error *err);

enum uvfio_machine_removal {
	UVFIO_MACHINE_ASK, /* the user is asked for it (the REQ interrupt), and may take its time */
	UVFIO_MACHINE_FORCE,    /* it is taken away, and the connection is closed */
	UVFIO_MACHINE_SURPRISE, /* it is pulled out of its slot, and the user is asked afterwards */
};

/*
 * Begin to remove device @name; it cannot be opened any more, and goes when its user has let go.
 * @gone, unless NULL, is called once with @arg when it has gone, ->destroy() included, in a thread
 * of the machine's, or in uvfio_machine_free().  A second call for a device changes only how: FORCE
 * and SURPRISE hurry what was begun with ASK; -EALREADY otherwise, and @gone is not called.
 * -ENODEV.
 */
UVFIO_API int uvfio_machine_remove(struct uvfio_machine *machine, const char *name,
				   enum uvfio_machine_removal how,
				   void (*gone)(void *arg, const char *name), void *arg,
				   struct uvfio_error *err);
/* Wait until no device is called @name: 0, or -ETIMEDOUT after @timeout_ms milliseconds (-1: wait
 * for ever). */
UVFIO_API int uvfio_machine_wait_gone(struct uvfio_machine *machine, const char *name,
				      int timeout_ms);

/*
 * What writing @n to `sriov_numvfs` of the PF @name does: it has @n VFs from now on, which are
 * called as their addresses are.  Returns when they are there, or have gone: their users are asked
 * for them (the REQ interrupt), and may take their time.  -ENODEV no such device, or no PF; -ERANGE
 * more than it can have; -EBUSY it has another number, so take those away first (0); -ENOENT its
 * driver enables none (vfio-pci with enable_sriov=N); what the model returned.
 */
UVFIO_API int uvfio_machine_set_numvfs(struct uvfio_machine *machine, const char *name, unsigned n,
				       struct uvfio_error *err);

/* ---- what happens to a device ---- */

/* What writing 1 to its `reset` file in sysfs does: the function is reset, also while a client has
 * it, whose config space is kept (A.5).  Waits for it.  -ENODEV; -ENOTTY it has no reset. */
UVFIO_API int uvfio_machine_reset(struct uvfio_machine *machine, const char *name,
				  struct uvfio_error *err);

/* Raise MSI or MSI-X vector @vector of it, as uvfio_irq_raise() does: a vector that nobody has
 * enabled is ignored and counted.  -ENODEV.  [any] */
UVFIO_API int uvfio_machine_raise(struct uvfio_machine *machine, const char *name, unsigned vector,
				  struct uvfio_error *err);

/*
 * What hardware does on a bad day (docs/bad-day.md), as `uvfio inject NAME WHAT`:
 *	"aer"          a PCI Express error, called @error, as Linux does ("CmpltTO"); may wait
 *	"fault"        the next @count DMA transfers fail
 *	"irq-storm"    every enabled vector, or INTx, @count times, without a reason
 *	"stuck-reset"  the next @count resets take @ns and then fail
 *	"slow-mmio"    each access to a BAR takes @ns longer
 *	"nothing"      an end to the others
 * Where @count or @ns is 0: once, 1 s, 1 ms.  -ENODEV; -EINVAL with a message.
 */
UVFIO_API int uvfio_machine_inject(struct uvfio_machine *machine, const char *name,
				   const char *what, const char *error, unsigned count, uint64_t ns,
				   struct uvfio_error *err);

/* ---- running ---- */

/*
 * Open the control socket, for `uvfio list`, `show`, `stats`, `trace`, `inject`, `remove` and so on
 * (docs/control.md): a path, with a '/', or the name of a machine, which `uvfio … --machine NAME`
 * finds.  Once: -EBUSY.  Devices cannot be added by it, and programs cannot join.
 */
UVFIO_API int uvfio_machine_control(struct uvfio_machine *machine, const char *path,
				    struct uvfio_error *err);

/*
 * Until uvfio_machine_stop(): with loop=caller, run the event loop in this thread; else only wait.
 * While a loop=caller machine does not run, clients are not answered, timers do not expire, and
 * what waits for a device (a reset, a removal) waits; so who runs it cannot drive its devices from
 * the same thread.  A thread at a time: -EBUSY.
 */
UVFIO_API int uvfio_machine_run(struct uvfio_machine *machine);
/* End it; one that comes first ends the next run at once.  No signal handler may call it.  [any] */
UVFIO_API void uvfio_machine_stop(struct uvfio_machine *machine);
/* A descriptor that polls readable from uvfio_machine_stop() until the run that it ends: for a
 * program that has a main loop of its own and does not call uvfio_machine_run().  The machine's:
 * only poll it.  [any] */
UVFIO_API int uvfio_machine_stop_fd(const struct uvfio_machine *machine);

#ifdef __cplusplus
}
#endif

#endif
