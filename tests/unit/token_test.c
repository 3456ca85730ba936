/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * src/vfio/token.c and what asks it: names (C), BIND's flag (C, D.3), FEATURE 0 (A.10).
 *
 * Device 0 is a PF, device 1 a VF that is linked to it, device 2 a VF that is not, device 3
 * neither, as far as tokens are concerned: what makes them so is the core's state alone.
 */
#include "iommufd_fixture.h"
#include "vfio/machine_private.h"

#define TOKEN "2ab74924-c335-45f4-9b16-8569e5b08258"
#define UPPER "2AB74924-C335-45F4-9B16-8569E5B08258"
#define OTHER "bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3"

enum { PF, VF, VF_ALONE, PLAIN, NR_DEVS };

static const uint8_t token_bytes[16] = {0x2a, 0xb7, 0x49, 0x24, 0xc3, 0x35, 0x45, 0xf4,
					0x9b, 0x16, 0x85, 0x69, 0xe5, 0xb0, 0x82, 0x58};
static const uint8_t other_bytes[16] = {0xbd, 0x8d, 0x9d, 0x2b, 0x5a, 0x5f, 0x4f, 0x5a,
					0xa2, 0x11, 0xf5, 0x91, 0x51, 0x4b, 0xa1, 0xf3};

struct world {
	struct fixture f;
	struct vfio_device *devs[NR_DEVS];
	struct vfio_group_file *groups[NR_DEVS];
	int log_fd;
	struct uvfio_log *log;
};

static void world_up(struct world *w)
{
	memset(w, 0, sizeof(*w));
	up(&w->f, "probe", NULL);
	for (unsigned i = 1; i < NR_DEVS; i++)
		fixture_add(&w->f, "probe");
	w->log_fd = memfd_create("log", MFD_CLOEXEC);
	w->log = uvfio_log_new(w->log_fd, UVFIO_LOG_DEBUG);
	w->f.machine->log = w->log;
	assert_int_equal(vfio_machine_devices(w->f.machine, w->devs, NR_DEVS), NR_DEVS);
	vf_token_list(w->devs[PF], true);
	pthread_mutex_lock(&w->f.machine->lock);
	vf_token_bound(w->devs[PF], true, NULL);
	vf_token_bound(w->devs[VF], false, w->devs[PF]);
	/* Its PF, so to say, has none that were enabled by vfio-pci. */
	vf_token_bound(w->devs[VF_ALONE], false, w->devs[PLAIN]);
	pthread_mutex_unlock(&w->f.machine->lock);
}

/* Each device through its group; all of them in one container. */
static void world_open(struct world *w)
{
	struct fixture *f = &w->f;

	assert_int_equal(vfio_container_open(f->machine, &f->container), 0);
	for (unsigned i = 0; i < NR_DEVS; i++) {
		assert_int_equal(vfio_group_open(f->machine, i + 1, &w->groups[i]), 0);
		assert_int_equal(vfio_group_set_container(w->groups[i], f->container), 0);
	}
	assert_int_equal(
		vfio_container_ioctl(f->container, f->client, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU),
		0);
}

static void world_down(struct world *w)
{
	for (unsigned i = 0; i < NR_DEVS; i++)
		if (w->groups[i])
			vfio_group_release(w->groups[i]);
	w->f.machine->log = NULL;
	uvfio_log_free(w->log);
	close(w->log_fd);
	down(&w->f);
}

static int get(struct world *w, unsigned dev, const char *options, struct vfio_device_file **df)
{
	char name[200];

	snprintf(name, sizeof(name), "0000:%02x:00.0%s%s", dev + 1, options ? " " : "",
		 options ? options : "");
	return vfio_group_get_device(w->groups[dev], w->f.client, (uintptr_t)name, df);
}

/* The same, and closed again. */
static int try_group(struct world *w, unsigned dev, const char *options)
{
	struct vfio_device_file *df;
	int ret = get(w, dev, options, &df);

	if (!ret)
		vfio_device_release(df);
	return ret;
}

static int bind_with(struct world *w, unsigned dev, const void *token, int iommufd,
		     struct vfio_device_file **out)
{
	struct vfio_cdev_bind b = {.argsz = sizeof(b),
				   .flags = token ? VFIO_CDEV_BIND_TOKEN : 0,
				   .iommufd = iommufd,
				   .token = (uintptr_t)token};
	struct vfio_device_file *df;
	int ret;

	assert_int_equal(vfio_cdev_open(w->f.machine, dev, &df), 0);
	ret = vfio_device_ioctl(df, w->f.client, VFIO_CDEV_BIND, (uintptr_t)&b);
	if (out && !ret)
		*out = df;
	else
		vfio_device_release(df);
	return ret;
}

static int set_feature(struct world *w, struct vfio_device_file *df, uint32_t argsz, uint32_t flags,
		       const void *token)
{
	struct {
		struct vfio_device_feature head;
		uint8_t token[16];
	} feature = {.head = {.argsz = argsz, .flags = flags}};

	if (token)
		memcpy(feature.token, token, 16);
	return vfio_device_ioctl(df, w->f.client, VFIO_DEVICE_FEATURE, (uintptr_t)&feature);
}

static void test_text(void **state)
{
	static const char *const bad[] = {
		"",
		"2ab74924",
		"2ab74924-c335-45f4-9b16-8569e5b0825",
		"2ab74924c335-45f4-9b16-8569e5b08258-",
		"2ab74924-c335-45f4-9b16-8569e5b0825g",
		"2ab74924-c335-45f4-9b16-8569e5b0825 ",
		" 2ab74924-c335-45f4-9b16-8569e5b0825",
		"{2ab74924-c335-45f4-9b16-8569e5b0825",
		"2ab74924-c335-45f4-9b16_8569e5b08258",
		"0x274924-c335-45f4-9b16-8569e5b08258",
		"+2b74924-c335-45f4-9b16-8569e5b08258",
	};
	static const char *const good[] = {TOKEN, UPPER, TOKEN "x", TOKEN " ", TOKEN "\n" TOKEN};
	struct vfio_token token, other;
	char text[VFIO_TOKEN_STRING], shown[200];

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(&token, 7, sizeof(token));
		assert_int_equal(vfio_token_parse(bad[i], &token), -EINVAL);
		assert_int_equal(token.uuid[0], 7);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		memset(&token, 0, sizeof(token));
		assert_int_equal(vfio_token_parse(good[i], &token), 0);
		assert_memory_equal(token.uuid, token_bytes, 16);
	}
	vfio_token_format(&token, text);
	assert_string_equal(text, TOKEN);
	for (unsigned bit = 0; bit < 128; bit++) {
		other = token;
		assert_true(vfio_token_equal(&token, &other));
		other.uuid[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(vfio_token_equal(&token, &other));
	}
	assert_int_equal(vfio_token_string("0000:01:00.0", NULL, text), 12);
	assert_string_equal(text, "0000:01:00.0");
	assert_int_equal(vfio_token_string("0000:01:00.0", &token, text), 58);
	assert_string_equal(text, "0000:01:00.0 vf_token=" TOKEN);
	snprintf(shown, sizeof(shown),
		 "nvme,vf_token=%s,x=1 vf_token=%s vf_token=1 vf_token=", TOKEN, TOKEN);
	vfio_token_redact(shown);
#define STARS "************************************"
	assert_string_equal(shown,
			    "nvme,vf_token=" STARS ",x=1 vf_token=" STARS " vf_token=* vf_token=");
	vfio_token_wipe(&token);
	memset(&other, 0, sizeof(other));
	assert_memory_equal(&token, &other, sizeof(token));
}

/* The table of C, by the group and by the device's own node; @users: open VFs that are linked. */
static void matrix(bool cdev)
{
	static const struct {
		unsigned dev;
		bool users;
		int none, match, mismatch; /* a match last, as a PF takes what it is given */
	} cells[] = {
		{VF_ALONE, false, 0, -EINVAL, -EINVAL}, {PLAIN, false, 0, -EINVAL, -EINVAL},
		{VF, false, -EACCES, 0, -EACCES},       {VF, true, -EACCES, 0, -EACCES},
		{PF, true, -EACCES, 0, -EACCES},        {PF, false, 0, 0, 0},
	};
	struct vfio_device_file *user = NULL;
	struct world w;

	world_up(&w);
	if (!cdev)
		world_open(&w);
	for (unsigned i = 0; i < ARRAY_SIZE(cells); i++) {
		unsigned dev = cells[i].dev;
		struct vfio_token value = {{0}};

		memcpy(value.uuid, token_bytes, 16);
		assert_int_equal(vf_token_set(w.devs[PF], &value), 0);
		if (cells[i].users && cdev) {
			if (dev == VF) /* which can be bound once */
				continue;
			assert_int_equal(bind_with(&w, VF, token_bytes, 5000, &user), 0);
		} else if (cells[i].users) {
			assert_int_equal(get(&w, VF, "vf_token=" TOKEN, &user), 0);
		}
		if (cdev) {
			assert_int_equal(bind_with(&w, dev, NULL, 5000, NULL), cells[i].none);
			assert_int_equal(bind_with(&w, dev, other_bytes, 5000, NULL),
					 cells[i].mismatch);
			assert_int_equal(bind_with(&w, dev, token_bytes, 5000, NULL),
					 cells[i].match);
		} else {
			assert_int_equal(try_group(&w, dev, NULL), cells[i].none);
			assert_int_equal(try_group(&w, dev, "vf_token=" OTHER), cells[i].mismatch);
			assert_int_equal(try_group(&w, dev, "vf_token=" UPPER), cells[i].match);
		}
		if (user)
			vfio_device_release(user);
		user = NULL;
	}
	/* What the PF was opened with last is the token. */
	if (cdev) {
		assert_int_equal(bind_with(&w, PF, other_bytes, 5000, NULL), 0);
		assert_int_equal(bind_with(&w, VF, token_bytes, 5000, NULL), -EACCES);
		assert_int_equal(bind_with(&w, VF, other_bytes, 5000, NULL), 0);
	} else {
		assert_int_equal(try_group(&w, PF, "vf_token=" OTHER), 0);
		assert_int_equal(try_group(&w, PF, NULL), 0); /* which changes nothing */
		assert_int_equal(try_group(&w, VF, "vf_token=" TOKEN), -EACCES);
		assert_int_equal(try_group(&w, VF, "vf_token=" OTHER), 0);
	}
	world_down(&w);
}

static void test_matrix_group(void **state)
{
	matrix(false);
}

static void test_matrix_cdev(void **state)
{
	matrix(true);
}

/* The name, then the options, then the matrix. */
static void test_order(void **state)
{
	static const struct {
		const char *options;
		int ret;
	} cases[] = {
		{"", -EACCES},
		{"   ", -EACCES},
		{"vf_token=", -EINVAL},
		{"vf_token=2ab74924", -EINVAL},
		{"vf_token=" TOKEN "x", -EINVAL},
		{"vf_token=" TOKEN " x", -EINVAL},
		{"vf_token=" TOKEN "vf_token=" TOKEN, -EINVAL},
		{"vf_token=" TOKEN " vf_token=" TOKEN, -EINVAL},
		{"vf_token=" OTHER " vf_token=" TOKEN, -EINVAL},
		{"VF_TOKEN=" TOKEN, -EINVAL},
		{"vf_token =" TOKEN, -EINVAL},
		{"\tvf_token=" TOKEN, -EINVAL},
		{"vf_token=" OTHER, -EACCES},
		{"vf_token=" TOKEN "   ", 0},
		{"   vf_token=" UPPER, 0},
	};
	struct vfio_device_file *df;
	struct vfio_token value;
	char page[5000];
	struct world w;

	world_up(&w);
	world_open(&w);
	memcpy(value.uuid, token_bytes, 16);
	assert_int_equal(vf_token_set(w.devs[PF], &value), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(try_group(&w, VF, cases[i].options), cases[i].ret);
	/* Another name, whatever its options. */
	assert_int_equal(vfio_group_get_device(w.groups[VF], w.f.client,
					       (uintptr_t) "0000:02:00.1 vf_token=1", &df),
			 -ENODEV);
	/* Longer than a page. */
	memset(page, ' ', sizeof(page));
	memcpy(page, "0000:02:00.0", 12);
	memcpy(page + 4095 - 45, "vf_token=" TOKEN, 45);
	page[4095] = '\0';
	assert_int_equal(vfio_group_get_device(w.groups[VF], w.f.client, (uintptr_t)page, &df), 0);
	vfio_device_release(df);
	page[4095] = ' ';
	page[4096] = '\0';
	assert_int_equal(vfio_group_get_device(w.groups[VF], w.f.client, (uintptr_t)page, &df),
			 -EINVAL);
	world_down(&w);
}

/* A PF's token is stored by an open that fails later: there is no container. */
static void test_stored_by_failure(void **state)
{
	struct vfio_container *container;
	struct world w;

	world_up(&w);
	world_open(&w);
	container = w.f.container;
	assert_int_equal(vfio_group_unset_container(w.groups[PF]), 0);
	assert_int_equal(try_group(&w, PF, "vf_token=" TOKEN), -EINVAL);
	assert_int_equal(try_group(&w, VF, "vf_token=" TOKEN), 0);
	/* And what may not be set is not. */
	assert_int_equal(try_group(&w, PF, "vf_token=" OTHER " x"), -EINVAL);
	assert_int_equal(try_group(&w, VF, "vf_token=" TOKEN), 0);
	assert_int_equal(vfio_group_set_container(w.groups[PF], container), 0);
	world_down(&w);

	world_up(&w);
	assert_int_equal(bind_with(&w, PF, token_bytes, 999, NULL), -EBADF);
	assert_int_equal(bind_with(&w, VF, token_bytes, 5000, NULL), 0);
	assert_int_equal(bind_with(&w, PF, other_bytes, 0, NULL), -EBADFD);
	assert_int_equal(bind_with(&w, VF, other_bytes, 5000, NULL), 0);
	/* The pointer comes before the matrix, which comes before the iommufd. */
	assert_int_equal(bind_with(&w, VF, (void *)8, 999, NULL), -EFAULT);
	assert_int_equal(bind_with(&w, PLAIN, (void *)8, 999, NULL), -EFAULT);
	assert_int_equal(bind_with(&w, VF, token_bytes, 999, NULL), -EACCES);
	assert_int_equal(bind_with(&w, VF, NULL, 999, NULL), -EACCES);
	assert_int_equal(bind_with(&w, VF, other_bytes, 999, NULL), -EBADF);
	world_down(&w);
}

/* Nobody knows the first one; each time that the PF is bound it is another. */
static void test_random(void **state)
{
	struct vfio_token first, zero = {{0}};
	struct vf_token *token;
	struct world w;

	world_up(&w);
	token = &w.devs[PF]->token;
	first = token->value;
	assert_false(vfio_token_equal(&first, &zero));
	assert_int_equal(first.uuid[6] >> 4, 4);
	assert_int_equal(first.uuid[8] >> 6, 2);
	assert_int_equal(bind_with(&w, VF, &zero, 5000, NULL), -EACCES);
	assert_int_equal(bind_with(&w, VF, &first, 5000, NULL), 0);
	pthread_mutex_lock(&w.f.machine->lock);
	vf_token_unbound(w.devs[PF]);
	assert_memory_equal(&token->value, &zero, sizeof(zero));
	/* As without randomness: nothing is equal, zeros neither. */
	assert_false(token->known);
	pthread_mutex_unlock(&w.f.machine->lock);
	assert_int_equal(bind_with(&w, VF, &zero, 5000, NULL), -EACCES);
	pthread_mutex_lock(&w.f.machine->lock);
	vf_token_bound(w.devs[PF], true, NULL);
	pthread_mutex_unlock(&w.f.machine->lock);
	assert_false(vfio_token_equal(&first, &token->value));
	assert_int_equal(token->value.uuid[6] >> 4, 4);
	world_down(&w);
}

/* Linked is who is bound while the PF is in the list, and stays so. */
static void test_link(void **state)
{
	struct world w;

	world_up(&w);
	vf_token_list(w.devs[PF], false);
	assert_int_equal(bind_with(&w, VF, NULL, 5000, NULL), -EACCES);
	pthread_mutex_lock(&w.f.machine->lock);
	vf_token_unbound(w.devs[VF]);
	vf_token_bound(w.devs[VF], false, w.devs[PF]);
	pthread_mutex_unlock(&w.f.machine->lock);
	assert_int_equal(bind_with(&w, VF, NULL, 5000, NULL), 0);
	vf_token_list(w.devs[PF], true);
	assert_int_equal(bind_with(&w, VF, NULL, 5000, NULL), 0);
	world_down(&w);
}

/* A.10: only a PF has it, whatever the operation and the size; it can be set at any time. */
static void test_feature(void **state)
{
	const uint32_t get_op = VFIO_DEVICE_FEATURE_GET, set = VFIO_DEVICE_FEATURE_SET,
		       probe = VFIO_DEVICE_FEATURE_PROBE;
	struct vfio_device_file *pf, *vf, *plain;
	struct world w;

	world_up(&w);
	assert_int_equal(bind_with(&w, PF, token_bytes, 5000, &pf), 0);
	assert_int_equal(bind_with(&w, VF, token_bytes, 5000, &vf), 0);
	assert_int_equal(bind_with(&w, PLAIN, NULL, 5000, &plain), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct vfio_device_file *df = i ? plain : vf;

		assert_int_equal(set_feature(&w, df, 24, set, other_bytes), -ENOTTY);
		assert_int_equal(set_feature(&w, df, 8, set, NULL), -ENOTTY);
		assert_int_equal(set_feature(&w, df, 24, get_op, NULL), -ENOTTY);
		assert_int_equal(set_feature(&w, df, 8, probe | set, NULL), -ENOTTY);
		assert_int_equal(set_feature(&w, df, 8, 0, NULL), -ENOTTY);
		assert_int_equal(set_feature(&w, df, 7, set, NULL), -EINVAL);
		assert_int_equal(set_feature(&w, df, 24, get_op | set, NULL), -EINVAL);
		assert_int_equal(set_feature(&w, df, 24, set | 1u << 19, NULL), -EINVAL);
	}
	assert_int_equal(set_feature(&w, pf, 7, set, NULL), -EINVAL);
	assert_int_equal(set_feature(&w, pf, 8, probe, NULL), 0);
	assert_int_equal(set_feature(&w, pf, 8, probe | set, NULL), 0);
	assert_int_equal(set_feature(&w, pf, 8, probe | get_op, NULL), -EINVAL);
	assert_int_equal(set_feature(&w, pf, 24, get_op, NULL), -EINVAL);
	assert_int_equal(set_feature(&w, pf, 24, 0, NULL), -EINVAL);
	assert_int_equal(set_feature(&w, pf, 23, set, other_bytes), -EINVAL);
	assert_true(vfio_token_equal(&w.devs[PF]->token.value, (const void *)token_bytes));
	/* While a VF is open, which stays open. */
	assert_int_equal(set_feature(&w, pf, 24, set, other_bytes), 0);
	assert_true(vfio_token_equal(&w.devs[PF]->token.value, (const void *)other_bytes));
	vfio_device_release(vf);
	assert_int_equal(bind_with(&w, VF, token_bytes, 5000, NULL), -EACCES);
	assert_int_equal(bind_with(&w, VF, other_bytes, 5000, NULL), 0);
	/* It outlasts the PF's user. */
	vfio_device_release(pf);
	assert_int_equal(bind_with(&w, VF, other_bytes, 5000, NULL), 0);
	vfio_device_release(plain);
	world_down(&w);
}

/* The PF's user has gone, VFs are open: a rogue driver has to know the token. */
static void test_rogue(void **state)
{
	struct vfio_device_file *first, *second, *pf;
	struct world w;

	world_up(&w);
	world_open(&w);
	assert_int_equal(get(&w, PF, "vf_token=" TOKEN, &pf), 0);
	assert_int_equal(get(&w, VF, "vf_token=" TOKEN, &first), 0);
	assert_int_equal(get(&w, VF, "vf_token=" TOKEN, &second), 0);
	vfio_device_release(pf);
	/* Another file of an open VF is no other user; the last one's close is what counts. */
	vfio_device_release(first);
	assert_int_equal(w.devs[PF]->token.users, 1);
	assert_int_equal(try_group(&w, PF, NULL), -EACCES);
	assert_int_equal(try_group(&w, PF, "vf_token=" OTHER), -EACCES);
	assert_int_equal(try_group(&w, PF, "vf_token=" TOKEN), 0);
	vfio_device_release(second);
	assert_int_equal(w.devs[PF]->token.users, 0);
	assert_int_equal(try_group(&w, PF, "vf_token=" OTHER), 0);
	assert_int_equal(try_group(&w, VF, "vf_token=" TOKEN), -EACCES);
	world_down(&w);
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	for (; (text = strstr(text, what)); text += strlen(what))
		n++;
	return n;
}

/* Guesses: none succeeds, nothing changes, a few lines are logged and no token is in them. */
static void test_guesses(void **state)
{
	char name[] = "0000:02:00.0 vf_token=00000000-0000-4000-8000-000000000000";
	struct vfio_token token, guess = {{0}};
	struct vfio_device_file *df;
	char *log;
	struct stat st;
	struct world w;

	world_up(&w);
	world_open(&w);
	assert_int_equal(try_group(&w, PF, "vf_token=" TOKEN), 0);
	token = w.devs[PF]->token.value;
	for (unsigned i = 0; i < 1000000; i++) {
		enum vf_token_refusal why;

		guess.uuid[i % 13] ^= (uint8_t)(i + 1);
		if (vfio_token_equal(&guess, &token))
			continue;
		assert_int_equal(vf_token_check(w.devs[VF], &guess, &why), -EACCES);
		assert_int_equal(why, VF_TOKEN_WRONG);
		vf_token_remark(w.devs[VF], why);
	}
	for (unsigned i = 0; i < 10000; i++) {
		snprintf(name + 22, sizeof(name) - 22, "%08x-c335-45f4-9b16-8569e5b08258", i);
		assert_int_equal(
			vfio_group_get_device(w.groups[VF], w.f.client, (uintptr_t)name, &df),
			-EACCES);
	}
	assert_true(vfio_token_equal(&w.devs[PF]->token.value, &token));
	assert_int_equal(w.devs[PF]->token.users, 0);
	assert_int_equal(try_group(&w, VF, NULL), -EACCES);
	assert_int_equal(try_group(&w, PLAIN, "vf_token=" TOKEN), -EINVAL);
	assert_int_equal(try_group(&w, VF, "vf_token=" TOKEN), 0);
	uvfio_log_flush(w.log);
	assert_int_equal(fstat(w.log_fd, &st), 0);
	log = calloc(1, (size_t)st.st_size + 1);
	assert_int_equal(pread(w.log_fd, log, (size_t)st.st_size, 0), st.st_size);
	assert_true(count(log, "0000:02:00.0: not opened (EACCES)") >= 5);
	assert_true(count(log, "not opened") < 200);
	assert_int_equal(count(log, "0000:04:00.0: not opened (EINVAL)"), 1);
	assert_null(strstr(log, "8569e5b08258"));
	assert_null(strstr(log, "c335"));
	free(log);
	world_down(&w);
}

struct opener {
	struct world *w;
	unsigned dev;
	const char *options;
	unsigned opened;
};

static void *open_often(void *arg)
{
	struct opener *o = arg;

	for (unsigned i = 0; i < 300; i++)
		o->opened += !try_group(o->w, o->dev, o->options);
	return NULL;
}

/* PF and VF opened and closed at once, with two tokens: nobody counts wrong. */
static void test_together(void **state)
{
	struct opener openers[] = {{.dev = VF, .options = "vf_token=" TOKEN},
				   {.dev = PF, .options = "vf_token=" TOKEN},
				   {.dev = PF, .options = "vf_token=" OTHER}};
	pthread_t threads[3];
	struct world w;

	world_up(&w);
	world_open(&w);
	for (unsigned i = 0; i < 3; i++) {
		openers[i].w = &w;
		assert_int_equal(pthread_create(&threads[i], NULL, open_often, &openers[i]), 0);
	}
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(w.devs[PF]->token.users, 0);
	assert_true(openers[1].opened > 0);
	world_down(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_matrix_group),
		cmocka_unit_test(test_matrix_cdev),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_stored_by_failure),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_link),
		cmocka_unit_test(test_feature),
		cmocka_unit_test(test_rogue),
		cmocka_unit_test(test_guesses),
		cmocka_unit_test(test_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
