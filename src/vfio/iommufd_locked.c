/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Locked memory of iommufds (D.3): by default what all of a user's processes map is one account,
 * whatever the iommufd; with the option RLIMIT_MODE each process has its own, which is the one of
 * type 1.
 */
#include <errno.h>
#include <stdlib.h>
#include "iommu/account.h"
#include "vfio/iommufd.h"

struct user_account {
	struct user_account *next;
	int64_t uid;
	struct iommu_account *account; /* a reference */
};

/* The user's, with a reference; what nobody uses any more goes.  machine->lock held. */
static struct iommu_account *find_locked(struct vfio_machine *machine, int64_t uid)
{
	struct user_account **link = &machine->user_accounts, *user;
	struct iommu_account *found = NULL;

	while ((user = *link)) {
		if (user->uid == uid) {
			found = user->account;
			iommu_account_ref(found);
		} else if (iommu_account_unused(user->account)) {
			*link = user->next;
			iommu_account_unref(user->account);
			free(user);
			continue;
		}
		link = &user->next;
	}
	return found;
}

static struct iommu_account *make_locked(struct vfio_machine *machine, int64_t uid)
{
	struct user_account *user = malloc(sizeof(*user));

	if (!user)
		return NULL;
	*user = (struct user_account){machine->user_accounts, uid, iommu_account_new(0)};
	if (!user->account) {
		free(user);
		return NULL;
	}
	machine->user_accounts = user;
	iommu_account_ref(user->account);
	return user->account;
}

static struct iommu_account *user_account(struct vfio_machine *machine,
					  const struct vfio_client *client)
{
	int64_t uid = client->who ? client->who->uid : -1;
	struct iommu_account *account;

	pthread_mutex_lock(&machine->lock);
	account = find_locked(machine, uid);
	if (!account)
		account = make_locked(machine, uid);
	pthread_mutex_unlock(&machine->lock);
	return account;
}

struct iommu_account *iommufd_account(void *arg, const struct type1_memory_ops *ops, void *client)
{
	struct vfio_iommufd *fd = arg;
	bool per_process;

	pthread_mutex_lock(&fd->lock);
	per_process = fd->per_process;
	pthread_mutex_unlock(&fd->lock);
	if (per_process && ops->account)
		return ops->account(client);
	return user_account(fd->machine, client);
}

void iommufd_accounts_free(struct vfio_machine *machine)
{
	struct user_account *user;

	while ((user = machine->user_accounts)) {
		machine->user_accounts = user->next;
		iommu_account_unref(user->account);
		free(user);
	}
}

/* Memory of files belongs to no process, so it can be another one's from now on; other memory
 * cannot. */
int iommufd_change_process(struct iommufd_call *call)
{
	struct vfio_client *client = call->client;
	struct iommufd_object **objs;
	struct ioas **all;
	unsigned nr = 0;
	int ret = -ENOMEM;

	if (call->cmd.process.reserved)
		return -EOPNOTSUPP;
	objs = malloc(IOMMUFD_MAX_OBJECTS * sizeof(*objs));
	all = malloc(IOMMUFD_MAX_OBJECTS * sizeof(struct ioas *));
	for (uint32_t id = 1; id <= IOMMUFD_MAX_OBJECTS && objs && all; id++) {
		objs[nr] = iommufd_obj_use(call->fd, id, IOMMUFD_OBJ_IOAS);
		if (objs[nr]) {
			all[nr] = objs[nr]->ioas;
			nr++;
		}
	}
	if (objs && all)
		ret = ioas_change_process(all, nr, &client->ops->memory, client);
	while (nr)
		iommufd_obj_put(call->fd, objs[--nr]);
	free(objs);
	free(all);
	return ret;
}
