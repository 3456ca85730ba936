/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a request offers the core (struct vfio_client_ops), and how it is routed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/eventfd.h"
#include "base/fd.h"
#include "base/trash.h"
#include "uapi/helper/trap.h"
#include "uapi/kept.h"
#include "uapi/process.h"
#include "uapi/request.h"
#include "uapi/task.h"

#define TRASH_MAX 64u

bool uapi_request_valid(const struct uapi_request *req)
{
	return ioctl(req->server->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &req->id) == 0;
}

/* Take it from what the system call carried; false: it did not carry (all of) that. */
static bool carried(const struct uapi_request *req, void *dst, uint64_t uaddr, size_t len)
{
	const uint64_t skip = uaddr - req->args[2];

	if (!req->carries || len > UVFIO_TRAP_CARRIED_BYTES ||
	    skip > UVFIO_TRAP_CARRIED_BYTES - len)
		return false;
	memcpy(dst, (const char *)&req->args[4] + skip, len);
	return true;
}

int uapi_copy_from(struct uapi_request *req, void *dst, uint64_t uaddr, size_t len)
{
	if (req->ahead) {
		uint64_t skip = uaddr - req->ahead_addr;

		if (skip > req->ahead_len || len > req->ahead_len - skip)
			return -EFAULT;
		memcpy(dst, req->ahead + skip, len);
		return 0;
	}
	if (!carried(req, dst, uaddr, len) &&
	    uapi_task_read(req->tid, dst, uaddr, len) != (ssize_t)len)
		return -EFAULT;
	return req->asks || uapi_request_valid(req) ? 0 : -EFAULT;
}

int uapi_copy_to(struct uapi_request *req, uint64_t uaddr, const void *src, size_t len)
{
	if (!uapi_request_valid(req))
		return -EFAULT;
	req->carries = false;
	return uapi_task_write(req->tid, uaddr, src, len) == (ssize_t)len ? 0 : -EFAULT;
}

static struct uapi_request *of_client(struct vfio_client *client)
{
	return (struct uapi_request *)client;
}

static int copy_from(struct vfio_client *client, void *dst, uint64_t uaddr, size_t len)
{
	return uapi_copy_from(of_client(client), dst, uaddr, len);
}

static int copy_to(struct vfio_client *client, uint64_t uaddr, const void *src, size_t len)
{
	return uapi_copy_to(of_client(client), uaddr, src, len);
}

void uapi_complain(struct uapi_server *server, struct uvfio_ratelimit *limit, unsigned burst,
		   const char *fmt, ...)
{
	unsigned lost;
	va_list ap;

	if (!uvfio_ratelimit_ok(limit, burst, 10000, &lost))
		return;
	va_start(ap, fmt);
	uvfio_vlog(server->log, UVFIO_LOG_ERROR, NULL, fmt, ap);
	va_end(ap);
	if (lost)
		uvfio_log(server->log, UVFIO_LOG_ERROR, "%u more such messages were not shown",
			  lost);
}

void uapi_request_throw_away(struct uapi_server *server, int fd)
{
	if (uvfio_trash_held(server->trash) < TRASH_MAX)
		uvfio_trash_close(server->trash, fd);
	else
		close(fd);
}

/* Where nothing can be taken from the program. */
static int get_kept(struct uapi_request *req, int fd)
{
	unsigned long id = uapi_task_eventfd_id(req->tid, fd);
	struct stat st;
	int ret;

	if (id)
		return uapi_kept_get(req->server->kept, id);
	/* No eventfd, or not open: as of what was taken. */
	ret = uapi_task_stat_fd(req->server->tasks, req->tid, fd, &st);
	return ret                                                      ? ret
	       : uapi_task_fd_is_path(req->server->tasks, req->tid, fd) ? -EBADF
									: -EINVAL;
}

void uapi_do_eventfd(struct uapi_request *req)
{
	const unsigned flags = req->nr == SYS_eventfd ? 0 : (unsigned)req->args[1];
	int fd = req->server->kept
			 ? uapi_kept_make(req->server->kept, (unsigned)req->args[0], flags)
			 : -EINVAL;

	if (fd < 0) /* the kernel makes one, or refuses it */
		return;
	req->answer = UAPI_FD;
	req->fd = fd;
	req->cloexec = flags & O_CLOEXEC;
}

static int get_eventfd(struct vfio_client *client, int32_t fd)
{
	struct uapi_request *req = of_client(client);
	int ours = uapi_fd_to_keep(req->server->kept ? get_kept(req, fd)
						     : uapi_task_get_fd(req->tid, fd));
	int ret = -EBADF;

	if (uapi_short_of(ours))
		return -ENFILE;
	if (ours == -EPERM || ours == -ENOSYS || ours == -EACCES) {
		uapi_complain(
			req->server, &req->server->hidden_fds, 3,
			"cannot take the eventfd %d of process %d: pidfd_getfd: %s; a container's "
			"seccomp profile or a security module forbids it%s, or the program made itself "
			"undumpable: no interrupt can be delivered (`uvfio doctor` says what to allow)",
			fd, req->tid, strerror(-ours),
			req->server->kept
				? ", and this eventfd was made before the run or outside of it"
				: "");
		return -EPERM;
	}
	if (ours == -EINVAL)
		return uapi_request_valid(req) ? -EINVAL : -EBADF;
	if (ours < 0)
		return -EBADF;
	if (uapi_request_valid(req)) {
		if (uvfio_eventfd_check(NULL, ours))
			return ours;
		if (!(fcntl(ours, F_GETFL) & O_PATH))
			ret = -EINVAL;
	}
	uapi_request_throw_away(req->server, ours);
	return ret;
}

static int get_group(struct vfio_client *client, int32_t fd)
{
	struct uapi_request *req = of_client(client);
	int ret;
	struct uapi_file *file = uapi_request_file(req, fd, &ret);

	if (!file)
		return ret ? ret : -EINVAL;
	ret = file->kind != UAPI_GROUP   ? -EINVAL
	      : !uapi_request_valid(req) ? -EBADF
					 : (int)file->group;
	uapi_files_put(req->server->files, file, req->id);
	return ret;
}

static int get_iommufd(struct vfio_client *client, int32_t fd, struct vfio_iommufd **out)
{
	struct uapi_request *req = of_client(client);
	int ret;
	struct uapi_file *file = uapi_request_file(req, fd, &ret);

	if (!file)
		return ret ? -EBADF : -EBADFD;
	if (file->kind != UAPI_IOMMUFD || req->held)
		ret = -EBADFD;
	else if (!uapi_request_valid(req))
		ret = -EBADF;
	if (ret) {
		uapi_files_put(req->server->files, file, req->id);
		return ret;
	}
	req->held = file;
	*out = (struct vfio_iommufd *)file->iommufd;
	return 0;
}

static int get_path(struct vfio_client *client, int32_t fd)
{
	struct uapi_request *req = of_client(client);
	int ours = fd < 0 ? -EBADF : uapi_task_get_path(req->tid, fd);

	if (ours >= 0 &&
	    (!uapi_request_valid(req) || uapi_task_fd_is_path(req->server->tasks, req->tid, fd))) {
		close(ours);
		ours = -EBADF;
	}
	return ours;
}

static int give_export(struct vfio_client *client, int fd, uint32_t open_flags,
		       struct vfio_device_export *export)
{
	struct uapi_request *req = of_client(client);
	int ours = uapi_files_add_export(req->server->files, (struct core_export *)export, fd,
					 (int)open_flags & O_NONBLOCK);

	close(fd);
	if (ours < 0)
		return ours;
	req->answer = UAPI_FD;
	req->fd = ours;
	req->cloexec = open_flags & O_CLOEXEC;
	return 0;
}

static int import_file(void *client, int32_t fd, uint64_t offset, uint64_t size, unsigned prot,
		       struct iommu_mem **mem, unsigned *nr)
{
	struct uapi_request *req = of_client(client);
	int ours = uapi_fd_to_keep(req->server->kept ? uapi_task_reopen_memory(req->tid, fd)
						     : uapi_task_get_fd(req->tid, fd));
	int ret;

	if (uapi_short_of(ours))
		return -ENOMEM;
	if (ours < 0)
		return ours == -EINVAL && uapi_request_valid(req) ? -EINVAL : -EBADF;
	if (!uapi_request_valid(req) || fcntl(ours, F_GETFL) & O_PATH)
		ret = -EBADF;
	else
		ret = memory_import_file(req->server->memory, ours, offset, size, prot, mem, nr);
	if (ret)
		uapi_request_throw_away(req->server, ours);
	return ret;
}

static int import(void *client, uint64_t vaddr, uint64_t size, unsigned prot,
		  struct iommu_mem **mem, unsigned *nr)
{
	struct uapi_request *req = of_client(client);
	int ret = memory_import(req->server->memory, req->tid, vaddr, size, prot, req->asked_prot,
				mem, nr);

	if (!ret && !uapi_request_valid(req)) {
		memory_release(*mem, *nr);
		ret = -EFAULT;
	}
	/* Ours, not the program's. */
	return uapi_short_of(ret) ? -ENOMEM : ret;
}

/* The program's own limit, less what it has locked itself. */
static uint64_t lock_limit(void *client)
{
	struct uapi_request *req = of_client(client);
	struct rlimit limit;
	uint64_t locked;

	if (req->client.caps & VFIO_CAP_IPC_LOCK)
		return UINT64_MAX;
	if (prlimit(req->tid, RLIMIT_MEMLOCK, NULL, &limit))
		return 0; /* it has gone, or is not ours to ask: nothing without a limit */
	if (limit.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	locked = uapi_task_locked(req->tid);
	return locked < limit.rlim_cur ? limit.rlim_cur - locked : 0;
}

static struct iommu_account *account(void *client)
{
	struct uapi_request *req = of_client(client);

	return memory_account(req->server->memory, req->tid);
}

static void release(void *client, struct iommu_mem *mem, unsigned nr)
{
	memory_release(mem, nr);
}

#define EVERYWHERE                                                                                 \
	.copy_from = copy_from, .copy_to = copy_to, .get_eventfd = get_eventfd,                    \
	.get_group = get_group, .get_iommufd = get_iommufd, .get_path = get_path,                  \
	.give_export = give_export,                                                                \
	.memory = {.import = import,                                                               \
		   .import_file = import_file,                                                     \
		   .release = release,                                                             \
		   .lock_limit = lock_limit,                                                       \
		   .account = account}

static const struct vfio_client_ops client_ops = {EVERYWHERE};
static const struct vfio_client_ops migrating_ops = {
	EVERYWHERE,
	.give_migration = uapi_give_migration,
};

void uapi_request_init(struct uapi_request *req, struct uapi_server *server,
		       const struct seccomp_notif *notif)
{
	*req = (struct uapi_request){
		.client = {.ops = server->migrations ? &migrating_ops : &client_ops,
			   .caps = server->core->policy->caller_caps,
			   .pid = (int32_t)notif->pid,
			   .who = &server->who},
		.server = server,
		.id = notif->id,
		.tid = (pid_t)notif->pid,
		.nr = notif->data.nr,
		.answer = UAPI_CONTINUE,
		.fd = -1,
		.kind = UAPI_FILE_KINDS,
	};
	memcpy(req->args, notif->data.args, sizeof(req->args));
}

void uapi_dispatch(struct uapi_request *req)
{
	switch (req->nr) {
	case SYS_ioctl:
		uapi_do_ioctl(req);
		break;
	case SYS_open:
		uapi_do_open(req, AT_FDCWD, req->args[0], req->args[1]);
		break;
	case SYS_openat:
		uapi_do_open(req, (int)req->args[0], req->args[1], req->args[2]);
		break;
	case SYS_openat2:
		uapi_do_openat2(req);
		break;
	case SYS_pread64:
		uapi_do_rw(req, false);
		break;
	case SYS_pwrite64:
		uapi_do_rw(req, true);
		break;
	case SYS_preadv:
		uapi_do_rwv(req, false, 0);
		break;
	case SYS_preadv2:
		uapi_do_rwv(req, false, req->args[5]);
		break;
	case SYS_pwritev:
		uapi_do_rwv(req, true, 0);
		break;
	case SYS_pwritev2:
		uapi_do_rwv(req, true, req->args[5]);
		break;
	case SYS_mmap:
		uapi_do_mmap(req);
		break;
	case SYS_eventfd:
	case SYS_eventfd2:
		uapi_do_eventfd(req);
		break;
	default:
		uapi_do_path(req);
		break;
	}
}
