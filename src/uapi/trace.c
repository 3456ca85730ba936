/* SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/vfio.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "uapi/helper/trap.h"
#include "uapi/trace.h"
#include "vfio/iommufd_uapi.h"

struct uapi_trace {
	int fd;
	bool json;
	struct vfio_machine *machine;
	struct timespec start;
};

/* The task whose request this thread handles; 0: the device's own doing. */
static _Thread_local pid_t current_task;

enum format { DEC, HEX, TEXT };

struct field {
	const char *name;
	enum format format;
	uint64_t value;
	const char *text;
};

#define FIELD_DEC(n, v)  ((struct field){n, DEC, (uint64_t)(v), NULL})
#define FIELD_HEX(n, v)  ((struct field){n, HEX, (uint64_t)(v), NULL})
#define FIELD_TEXT(n, t) ((struct field){n, TEXT, 0, t})

static const char *const kind_names[] = {
	[UAPI_CONTAINER] = "container",
	[UAPI_GROUP] = "group",
	[UAPI_DEVICE] = "device",
	[UAPI_IOMMUFD] = "iommufd",
	[UAPI_CDEV] = "device",
	[UAPI_RESOURCE] = "resource",
	[UAPI_EXPORT] = "dma-buf",
};

static const char *const container_ioctls[] = {
	[0] = "GET_API_VERSION", [1] = "CHECK_EXTENSION", [2] = "SET_IOMMU",
	[12] = "IOMMU_GET_INFO", [13] = "IOMMU_MAP_DMA",  [14] = "IOMMU_UNMAP_DMA",
	[15] = "IOMMU_ENABLE",   [16] = "IOMMU_DISABLE",  [17] = "IOMMU_DIRTY_PAGES",
};

static const char *const group_ioctls[] = {
	[3] = "GROUP_GET_STATUS",
	[4] = "GROUP_SET_CONTAINER",
	[5] = "GROUP_UNSET_CONTAINER",
	[6] = "GROUP_GET_DEVICE_FD",
};

static const char *const device_ioctls[] = {
	[7] = "DEVICE_GET_INFO",
	[8] = "DEVICE_GET_REGION_INFO",
	[9] = "DEVICE_GET_IRQ_INFO",
	[10] = "DEVICE_SET_IRQS",
	[11] = "DEVICE_RESET",
	[12] = "DEVICE_GET_PCI_HOT_RESET_INFO",
	[13] = "DEVICE_PCI_HOT_RESET",
	[14] = "DEVICE_QUERY_GFX_PLANE",
	[15] = "DEVICE_GET_GFX_DMABUF",
	[16] = "DEVICE_IOEVENTFD",
	[17] = "DEVICE_FEATURE",
	[18] = "DEVICE_BIND_IOMMUFD",
	[19] = "DEVICE_ATTACH_IOMMUFD_PT",
	[20] = "DEVICE_DETACH_IOMMUFD_PT",
};

static const char *const iommufd_ioctls[] = {
	"IOMMU_DESTROY",        "IOMMU_IOAS_ALLOC",
	"IOMMU_IOAS_ALLOW_IOVAS", "IOMMU_IOAS_COPY",
	"IOMMU_IOAS_IOVA_RANGES", "IOMMU_IOAS_MAP",
	"IOMMU_IOAS_UNMAP",     "IOMMU_OPTION",
	"IOMMU_VFIO_IOAS",      "IOMMU_HWPT_ALLOC",
	"IOMMU_GET_HW_INFO",    "IOMMU_HWPT_SET_DIRTY_TRACKING",
	"IOMMU_HWPT_GET_DIRTY_BITMAP", "IOMMU_HWPT_INVALIDATE",
	"IOMMU_FAULT_QUEUE_ALLOC", "IOMMU_IOAS_MAP_FILE",
	"IOMMU_VIOMMU_ALLOC",   "IOMMU_VDEVICE_ALLOC",
	"IOMMU_IOAS_CHANGE_PROCESS", "IOMMU_VEVENTQ_ALLOC",
	"IOMMU_HW_QUEUE_ALLOC",
};

#define NAME(table, n) ((n) < sizeof(table) / sizeof(*(table)) ? (table)[n] : NULL)

static const char *ioctl_name(enum uapi_file_kind kind, unsigned cmd)
{
	unsigned n = cmd - (VFIO_TYPE << 8 | VFIO_BASE);

	if (cmd == UVFIO_TRAP_KEY)
		return "(helper asks which file it is)";
	switch (kind) {
	case UAPI_CONTAINER:
		return cmd == UVFIO_TRAP_MAP_DMA ? "IOMMU_MAP_DMA (helper says what mmap was asked)"
						 : NAME(container_ioctls, n);
	case UAPI_GROUP:
		return NAME(group_ioctls, n);
	case UAPI_IOMMUFD:
		return cmd >= IOMMUFD_DESTROY ? NAME(iommufd_ioctls, cmd - IOMMUFD_DESTROY)
					      : NAME(container_ioctls, n);
	case UAPI_DEVICE:
		return cmd == UVFIO_TRAP_MMAP ? "(helper asks how to map)" : NAME(device_ioctls, n);
	default:
		return NULL;
	}
}

struct line {
	char text[1024];
	size_t len;
};

static void __attribute__((format(printf, 2, 3))) put(struct line *line, const char *fmt, ...)
{
	size_t room = sizeof(line->text) - line->len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line->text + line->len, room, fmt, ap);
	va_end(ap);
	if (n > 0)
		line->len += (size_t)n < room ? (size_t)n : room - 1;
}

static const char *error_name(int64_t result)
{
	const char *name = result < 0 && result >= -4095 ? strerrorname_np((int)-result) : NULL;

	return name ? name : "";
}

/* One event.  @result NULL: it has none. */
static void emit(struct uapi_trace *trace, const char *event, const struct field *fields,
		 unsigned nr, const int64_t *result)
{
	struct line line = {.len = 0};
	struct timespec now;
	double at;

	clock_gettime(CLOCK_MONOTONIC, &now);
	at = (double)(now.tv_sec - trace->start.tv_sec) +
	     (double)(now.tv_nsec - trace->start.tv_nsec) / 1e9;
	if (trace->json)
		put(&line, "{\"time\":%.6f,\"pid\":%d,\"event\":\"%s\"", at, current_task, event);
	else
		put(&line, "%12.6f %7d %s", at, current_task, event);
	for (unsigned i = 0; i < nr; i++) {
		const struct field *f = &fields[i];

		if (f->format == TEXT && !f->text)
			continue;
		put(&line, trace->json ? ",\"%s\":" : " %s=", f->name);
		if (f->format == TEXT)
			put(&line, trace->json ? "\"%s\"" : "%s", f->text);
		else if (f->format == HEX && !trace->json)
			put(&line, "0x%" PRIx64, f->value);
		else
			put(&line, "%" PRIu64, f->value);
	}
	if (result && trace->json) {
		put(&line, ",\"result\":%" PRId64, *result);
		if (*result < 0)
			put(&line, ",\"errno\":\"%s\"", error_name(*result));
	} else if (result) {
		put(&line, *result < 0 ? " = %" PRId64 " %s" : " = %" PRId64, *result,
		    error_name(*result));
	}
	put(&line, trace->json ? "}\n" : "\n");
	(void)!write(trace->fd, line.text, line.len);
}

/* ---- what happens in the machine ---- */

static const char *fault_reason(unsigned reason)
{
	static const char *const names[] = {
		[IOMMU_FAULT_UNMAPPED] = "unmapped",
		[IOMMU_FAULT_PERMISSION] = "permission",
		[IOMMU_FAULT_INTERRUPT_WINDOW] = "interrupt window",
		[IOMMU_FAULT_BUS_MASTER] = "bus mastering is off",
		[IOMMU_FAULT_GONE] = "memory is gone",
		[IOMMU_FAULT_INJECTED] = "asked for",
		[IOMMU_FAULT_REVOKED] = "device memory is away",
		[IOMMU_FAULT_QUIET] = "quiet, to be moved",
	};

	static_assert(sizeof(names) / sizeof(names[0]) == NR_IOMMU_FAULTS, "a name each");
	return NAME(names, reason) ? NAME(names, reason) : "?";
}

static const char *dma_prot(uint64_t prot)
{
	static const char *const names[] = {"none", "read", "write", "read write"};

	return names[prot & 3];
}

static void observe(void *arg, const struct vfio_event *event)
{
	struct uapi_trace *trace = arg;
	struct field f[6] = {FIELD_TEXT("device", event->device)};
	int64_t result = event->result;
	const char *name;
	unsigned nr = 1;

	switch (event->kind) {
	case VFIO_EVENT_REGION_READ:
	case VFIO_EVENT_REGION_WRITE:
		name = event->kind == VFIO_EVENT_REGION_READ ? "region-read" : "region-write";
		f[nr++] = FIELD_HEX("offset", event->a);
		f[nr++] = FIELD_DEC("length", event->b);
		f[nr++] = FIELD_HEX("value", event->c);
		break;
	case VFIO_EVENT_STORE:
		name = "store";
		f[nr++] = FIELD_HEX("offset", event->a);
		f[nr++] = FIELD_DEC("size", event->b);
		f[nr++] = FIELD_HEX("value", event->c);
		break;
	case VFIO_EVENT_DMA_MAP:
	case VFIO_EVENT_DMA_UNMAP:
		name = event->kind == VFIO_EVENT_DMA_MAP ? "dma-map" : "dma-unmap";
		f[nr++] = FIELD_DEC("space", event->space_number);
		f[nr++] = FIELD_HEX("iova", event->a);
		f[nr++] = FIELD_HEX("size", event->b);
		if (event->kind == VFIO_EVENT_DMA_MAP)
			f[nr++] = FIELD_TEXT("access", dma_prot(event->c));
		break;
	case VFIO_EVENT_IRQ:
		name = "interrupt";
		f[nr++] = FIELD_DEC("index", event->a);
		f[nr++] = FIELD_DEC("vector", event->b);
		break;
	case VFIO_EVENT_FAULT:
		name = "dma-fault";
		f[nr++] = FIELD_DEC("space", event->space_number);
		f[nr++] = FIELD_HEX("iova", event->a);
		f[nr++] = FIELD_HEX("length", event->b);
		f[nr++] = FIELD_TEXT("access", event->c >> 8 ? "write" : "read");
		f[nr++] = FIELD_TEXT("reason", fault_reason(event->c & 0xff));
		break;
	case VFIO_EVENT_RESET:
		name = "reset";
		f[nr++] = FIELD_DEC("kind", event->a);
		break;
	case VFIO_EVENT_OPEN:
	case VFIO_EVENT_CLOSE:
		name = event->kind == VFIO_EVENT_OPEN ? "open-device" : "close-device";
		f[nr++] = FIELD_DEC("group", event->a);
		break;
	default:
		return;
	}
	emit(trace, name, f, nr, event->kind == VFIO_EVENT_IRQ ? NULL : &result);
}

/* ---- what the program asks for ---- */

void uapi_trace_begin(struct uapi_trace *trace, const struct uapi_request *req)
{
	current_task = req->tid;
}

void uapi_trace_end(struct uapi_trace *trace, const struct uapi_request *req)
{
	struct field f[6] = {FIELD_TEXT("file", req->device ? req->device
						: req->kind < UAPI_FILE_KINDS
							? kind_names[req->kind]
							: NULL)};
	int64_t result = req->answer == UAPI_CONTINUE ? 0 : req->result;
	char number[16];
	unsigned nr = 1;

	switch (req->nr) {
	case SYS_open:
	case SYS_openat:
	case SYS_openat2:
		/* Files of /sys are opened past us where the program has mounts. */
		if (req->answer != UAPI_CONTINUE &&
		    !(req->server->shadow && req->kind == UAPI_FILE_KINDS))
			emit(trace, "open", f, nr, &result);
		break;
	case SYS_ioctl: {
		unsigned cmd = (unsigned)req->args[1];
		const char *name = ioctl_name(req->kind, cmd);

		if (req->kind == UAPI_FILE_KINDS)
			break; /* a trapped store is the machine's event; or not ours */
		snprintf(number, sizeof(number), "0x%x", cmd);
		f[nr++] = FIELD_TEXT("request", name ? name : number);
		f[nr++] = FIELD_HEX("arg", req->args[2]);
		emit(trace, "ioctl", f, nr, &result);
		break;
	}
	case SYS_mmap:
		if (req->kind == UAPI_FILE_KINDS)
			break;
		f[nr++] = FIELD_HEX("offset", req->args[5]);
		f[nr++] = FIELD_HEX("length", req->args[1]);
		f[nr++] = FIELD_HEX("prot", req->args[2]);
		f[nr++] = FIELD_HEX("flags", req->args[3]);
		emit(trace, "mmap", f, nr, &result);
		break;
	default: /* region accesses are the machine's events, refusals are not */
		if (req->kind == UAPI_FILE_KINDS || result >= 0)
			break;
		f[nr++] = FIELD_HEX("offset", req->args[3]);
		emit(trace,
		     req->nr == SYS_pread64 || req->nr == SYS_preadv || req->nr == SYS_preadv2
			     ? "read"
			     : "write",
		     f, nr, &result);
		break;
	}
	current_task = 0;
}

struct uapi_trace *uapi_trace_new(const char *path, bool json, struct vfio_machine *machine,
				  struct uvfio_error *err)
{
	struct uapi_trace *trace = calloc(1, sizeof(*trace));

	if (!trace) {
		uvfio_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	/* Not opened anew: that would cut a file short, and is refused for another user's pipe. */
	if (!strcmp(path, "/dev/stderr") || !strcmp(path, "/dev/stdout"))
		trace->fd = fcntl(strcmp(path, "/dev/stderr") ? 1 : 2, F_DUPFD_CLOEXEC, 3);
	else
		trace->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
	if (trace->fd < 0) {
		uvfio_error_set(err, -errno, "--trace %s: cannot write there: %s", path,
				strerror(errno));
		free(trace);
		return NULL;
	}
	trace->json = json;
	trace->machine = machine;
	clock_gettime(CLOCK_MONOTONIC, &trace->start);
	if (machine)
		vfio_machine_observe(machine, observe, trace); /* the first: there is room */
	return trace;
}

void uapi_trace_free(struct uapi_trace *trace)
{
	if (!trace)
		return;
	if (trace->machine)
		vfio_machine_unobserve(trace->machine, observe, trace);
	close(trace->fd);
	free(trace);
}
