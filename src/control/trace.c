/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `trace`: events as notifications.
 *
 * Theory of operation.  Each subscription has a ring.  The core's observer, in whatever thread the
 * event happens, puts it there and wakes the context through an eventfd; it never waits.  The
 * context sends what is in the rings to those clients that read.  When a ring is full, events are
 * counted in place of kept, and the next one that is sent says how many were lost in front of it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include "control/control_private.h"

#define PUMP_CHUNK 32u

struct traced {
	uint64_t time; /* CLOCK_REALTIME, ns */
	uint64_t dropped;
	struct vfio_event event; /* ->device is not used */
	char device[16];
};

struct subscription {
	struct subscription *next;
	uint64_t id;
	struct client *client;
	char device[16]; /* "": all */
	unsigned kinds;  /* bits: 1 << enum vfio_event_kind */
	/* Under trace_lock. */
	uint64_t head, tail; /* taken from tail */
	uint64_t dropped;
	struct traced ring[RING_EVENTS];
};

static const char *const kind_names[] = {
	[VFIO_EVENT_REGION_READ] = "region-read",
	[VFIO_EVENT_REGION_WRITE] = "region-write",
	[VFIO_EVENT_STORE] = "store",
	[VFIO_EVENT_DMA_MAP] = "dma-map",
	[VFIO_EVENT_DMA_UNMAP] = "dma-unmap",
	[VFIO_EVENT_IRQ] = "interrupt",
	[VFIO_EVENT_FAULT] = "fault",
	[VFIO_EVENT_RESET] = "reset",
	[VFIO_EVENT_OPEN] = "open",
	[VFIO_EVENT_CLOSE] = "close",
};
#define NR_KINDS (sizeof(kind_names) / sizeof(kind_names[0]))

/* ---- the observer: any thread ---- */

static bool wanted(const struct control *control, const struct subscription *s,
		   const struct vfio_event *event)
{
	if (event->kind >= NR_KINDS || !(s->kinds & 1u << event->kind))
		return false;
	return !s->device[0] || vfio_event_concerns(control->machine, event, s->device);
}

static void push(struct subscription *s, const struct vfio_event *event, uint64_t now)
{
	struct traced *t;

	if (s->head - s->tail == RING_EVENTS) {
		s->dropped++;
		return;
	}
	t = &s->ring[s->head++ % RING_EVENTS];
	*t = (struct traced){.time = now, .dropped = s->dropped, .event = *event};
	s->dropped = 0;
	if (event->device)
		strncpy(t->device, event->device, sizeof(t->device) - 1);
	else if (s->device[0]) /* a mapping of its container */
		memcpy(t->device, s->device, sizeof(t->device));
}

static void signal_pump(struct control *control)
{
	uint64_t one = 1;

	if (!atomic_exchange(&control->trace_signalled, true) &&
	    write(control->trace_fd, &one, sizeof(one)) < 0)
		atomic_store(&control->trace_signalled, false);
}

static void observe(void *arg, const struct vfio_event *event)
{
	struct control *control = arg;
	struct timespec now;
	bool any = false;

	clock_gettime(CLOCK_REALTIME, &now);
	pthread_mutex_lock(&control->trace_lock);
	for (struct subscription *s = control->subscriptions; s; s = s->next) {
		if (!wanted(control, s, event))
			continue;
		push(s, event, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
		any = true;
	}
	pthread_mutex_unlock(&control->trace_lock);
	if (any)
		signal_pump(control);
}

/* ---- notifications ---- */

static void put_hex(struct json_object *out, const char *key, uint64_t value)
{
	char text[20];

	/* A double has no room for all of them. */
	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)value);
	json_put_string(out, key, text);
}

static void put_place(struct json_object *out, uint64_t offset)
{
	static const char *const names[] = {"bar0", "bar1", "bar2", "bar3",
					    "bar4", "bar5", "rom",  "config", "migration"};
	uint64_t region = offset >> 40;

	if (offset >= VFIO_REGION_OFFSET(VFIO_PCI_BAR0_REGION_INDEX))
		region -= VFIO_REGION_OFFSET(VFIO_PCI_BAR0_REGION_INDEX) >> 40;
	if (region < sizeof(names) / sizeof(names[0]))
		json_put_string(out, "region", names[region]);
	json_put_uint(out, "offset", offset & ((1ull << 40) - 1));
}

static void put_fields(struct json_object *out, const struct vfio_event *e)
{
	static const char *const irqs[] = {"intx", "msi", "msix", "err", "req"};
	static const char *const resets[] = {
		[UVFIO_RESET_POWER_ON] = "power-on", [UVFIO_RESET_OPEN] = "open",
		[UVFIO_RESET_FUNCTION] = "function", [UVFIO_RESET_PM] = "power-management",
		[UVFIO_RESET_BUS] = "bus",           [UVFIO_RESET_CLOSE] = "close",
	};

	switch (e->kind) {
	case VFIO_EVENT_REGION_READ:
	case VFIO_EVENT_REGION_WRITE:
	case VFIO_EVENT_STORE:
		put_place(out, e->a);
		json_put_uint(out, "length", e->b);
		put_hex(out, "value", e->c);
		break;
	case VFIO_EVENT_DMA_MAP:
	case VFIO_EVENT_DMA_UNMAP:
		json_put_uint(out, "space", e->space_number);
		put_hex(out, "iova", e->a);
		put_hex(out, "size", e->b);
		json_put_uint(out, "flags", e->c);
		break;
	case VFIO_EVENT_IRQ:
		if (e->a < sizeof(irqs) / sizeof(irqs[0]))
			json_put_string(out, "index", irqs[e->a]);
		json_put_uint(out, "vector", e->b);
		break;
	case VFIO_EVENT_FAULT:
		json_put_uint(out, "space", e->space_number);
		put_hex(out, "iova", e->a);
		put_hex(out, "length", e->b);
		json_put_string(out, "access", e->c >> 8 & 1 ? "write" : "read");
		json_put_string(out, "reason",
				vfio_fault_reason((enum iommu_fault_reason)(e->c & 255)));
		break;
	case VFIO_EVENT_RESET:
		if (e->a < sizeof(resets) / sizeof(resets[0]))
			json_put_string(out, "kind", resets[e->a]);
		break;
	case VFIO_EVENT_OPEN:
	case VFIO_EVENT_CLOSE:
		json_put_uint(out, "group", e->a);
		break;
	}
	if (e->result)
		json_put(out, "result", json_object_new_int(e->result));
}

static void notify(struct client *client, struct json_object *params)
{
	struct json_object *message = json_object_new_object();

	json_put_string(message, "jsonrpc", "2.0");
	json_put_string(message, "method", "event");
	json_put(message, "params", params);
	client_send(client, message);
	json_object_put(message);
}

static struct json_object *event_params(uint64_t id, const struct traced *t)
{
	struct json_object *params = json_object_new_object();

	json_put_uint(params, "subscription", id);
	json_put_string(params, "event", kind_names[t->event.kind]);
	json_put_uint(params, "time_ns", t->time);
	if (t->dropped)
		json_put_uint(params, "dropped", t->dropped);
	if (t->device[0])
		json_put_string(params, "device", t->device);
	put_fields(params, &t->event);
	return params;
}

static struct json_object *dropped_params(uint64_t id, uint64_t dropped)
{
	struct json_object *params = json_object_new_object();

	json_put_uint(params, "subscription", id);
	json_put_string(params, "event", "dropped");
	json_put_uint(params, "dropped", dropped);
	return params;
}

/* Up to PUMP_CHUNK events of @s, and behind the last one how many were lost; false when there is
 * nothing to tell. */
static bool take(struct control *control, struct subscription *s, struct traced *out, unsigned *nr,
		 uint64_t *dropped)
{
	*nr = 0;
	*dropped = 0;
	pthread_mutex_lock(&control->trace_lock);
	while (s->tail < s->head && *nr < PUMP_CHUNK)
		out[(*nr)++] = s->ring[s->tail++ % RING_EVENTS];
	if (s->tail == s->head) {
		*dropped = s->dropped;
		s->dropped = 0;
	}
	pthread_mutex_unlock(&control->trace_lock);
	return *nr || *dropped;
}

static struct subscription *find(struct control *control, uint64_t id)
{
	struct subscription *s = control->subscriptions;

	while (s && s->id != id)
		s = s->next;
	return s;
}

void trace_pump(struct control *control)
{
	uint64_t start = uvfio_now_ns(), ids[MAX_ALL_SUBSCRIPTIONS], dropped;
	struct traced events[PUMP_CHUNK];
	unsigned nr, n = 0;
	bool more;

	/* Sending can end clients and with them subscriptions, so these go by number. */
	for (struct subscription *s = control->subscriptions; s; s = s->next)
		ids[n++] = s->id;
	do {
		more = false;
		for (unsigned i = 0; i < n; i++) {
			struct subscription *s = find(control, ids[i]);

			if (!s || client_blocked(s->client) ||
			    !take(control, s, events, &nr, &dropped))
				continue;
			more = true;
			for (unsigned j = 0; j < nr && find(control, ids[i]); j++)
				notify(s->client, event_params(ids[i], &events[j]));
			if (dropped && find(control, ids[i]))
				notify(s->client, dropped_params(ids[i], dropped));
		}
		if (more && uvfio_now_ns() - start > TURN_NS) {
			signal_pump(control);
			return;
		}
	} while (more);
}

static void on_signal(void *arg)
{
	struct control *control = arg;
	uint64_t count;

	if (read(control->trace_fd, &count, sizeof(count)) < 0)
		return;
	atomic_store(&control->trace_signalled, false);
	trace_pump(control);
}

/* ---- subscriptions: the context's ---- */

int trace_init(struct control *control)
{
	control->trace_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (control->trace_fd < 0)
		return -errno;
	control->trace_watch = uvfio_watch_new(control->ctx, control->trace_fd, on_signal, control);
	return control->trace_watch ? 0 : -errno;
}

static void remove_subscription(struct control *control, struct subscription *s)
{
	pthread_mutex_lock(&control->trace_lock);
	for (struct subscription **p = &control->subscriptions; *p; p = &(*p)->next) {
		if (*p == s) {
			*p = s->next;
			break;
		}
	}
	pthread_mutex_unlock(&control->trace_lock);
	s->client->nr_subscriptions--;
	control->nr_subscriptions--;
	free(s);
	if (!control->subscriptions && control->observing) {
		vfio_machine_unobserve(control->machine, observe, control);
		control->observing = false;
	}
}

void trace_client_gone(struct client *client)
{
	struct subscription *next;

	for (struct subscription *s = client->control->subscriptions; s; s = next) {
		next = s->next;
		if (s->client == client)
			remove_subscription(client->control, s);
	}
}

void trace_stop(struct control *control)
{
	uvfio_watch_free(control->trace_watch);
	control->trace_watch = NULL;
}

static bool take_kinds(struct json_object *params, unsigned *kinds, struct rpc_error *err)
{
	struct json_object *list = NULL;
	char names[200] = "";
	size_t len = 0;

	*kinds = (1u << NR_KINDS) - 1;
	if (!params || !json_object_object_get_ex(params, "events", &list))
		return true;
	for (unsigned k = 0; k < NR_KINDS; k++)
		len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", k ? ", " : "",
					kind_names[k]);
	if (!json_object_is_type(list, json_type_array)) {
		rpc_fail(err, RPC_INVALID_PARAMS, -EINVAL, "\"events\" must be an array of: %s",
			 names);
		return false;
	}
	*kinds = 0;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *entry = json_object_array_get_idx(list, i);
		const char *name = json_object_get_string(entry);
		unsigned k = 0;

		while (k < NR_KINDS && (!name || strcmp(name, kind_names[k]) != 0))
			k++;
		if (k == NR_KINDS) {
			rpc_fail(err, RPC_INVALID_PARAMS, -EINVAL,
				 "there is no event '%.40s'; there are: %s", name ? name : "null",
				 names);
			return false;
		}
		*kinds |= 1u << k;
	}
	return true;
}

struct json_object *method_trace(struct call *call, struct json_object *params,
				 struct rpc_error *err)
{
	struct client *client = call->client;
	struct control *control = client->control;
	struct json_object *result;
	struct subscription *s;
	const char *device;
	unsigned kinds;

	if (!take_kinds(params, &kinds, err) || !param_string(params, "device", &device, err))
		return NULL;
	if (client->nr_subscriptions == MAX_SUBSCRIPTIONS ||
	    control->nr_subscriptions == MAX_ALL_SUBSCRIPTIONS)
		return rpc_fail(err, RPC_BUSY, -EBUSY, "there are too many subscriptions already");
	s = calloc(1, sizeof(*s));
	if (!s)
		return rpc_fail(err, RPC_INTERNAL_ERROR, -ENOMEM, "out of memory");
	if (device) {
		struct vfio_device *dev = param_device(client, params, err);

		if (!dev) {
			free(s);
			return NULL;
		}
		snprintf(s->device, sizeof(s->device), "%s", vfio_device_name(dev));
		vfio_device_put(dev);
	}
	s->id = ++control->next_subscription;
	s->client = client;
	s->kinds = kinds;
	pthread_mutex_lock(&control->trace_lock);
	s->next = control->subscriptions;
	control->subscriptions = s;
	pthread_mutex_unlock(&control->trace_lock);
	client->nr_subscriptions++;
	control->nr_subscriptions++;
	if (!control->observing) {
		if (vfio_machine_observe(control->machine, observe, control)) {
			remove_subscription(control, s);
			return rpc_fail(err, RPC_BUSY, -EBUSY,
					"the machine has too many observers already");
		}
		control->observing = true;
	}
	result = json_object_new_object();
	json_put_uint(result, "subscription", s->id);
	return result;
}

struct json_object *method_untrace(struct call *call, struct json_object *params,
				   struct rpc_error *err)
{
	struct control *control = call->client->control;
	struct subscription *s;
	uint64_t id = 0;

	if (!param_uint(params, "subscription", INT64_MAX, &id, err))
		return NULL;
	s = find(control, id);
	if (!s || s->client != call->client)
		return rpc_fail(err, RPC_INVALID_PARAMS, -ENOENT,
				"this connection has no subscription %llu", (unsigned long long)id);
	remove_subscription(control, s);
	return json_object_new_object();
}
