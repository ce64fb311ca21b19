// The addon `zookeeper`, which is ZooKeeper's own single-threaded C client inside Node: all that it offers.
'use strict';

const assert = require('node:assert/strict');
const { after, before } = require('node:test');
const ZooKeeper = require('zookeeper');
const { digest, hosts, place, test, until, wire } = require('./servers.js');

const { constants } = ZooKeeper;
const root = place('native');
const opened = new Set();
let client;

/** A connected client. */
async function connected(where = hosts, options = {}) {
    const made = new ZooKeeper({
        connect: where,
        timeout: 10000,
        debug_level: constants.ZOO_LOG_LEVEL_ERROR,
        host_order_deterministic: false,
        ...options,
    });
    const ready = new Promise((resolve) => made.once('connect', resolve));
    made.init({});
    opened.add(made);
    await ready;
    return made;
}

async function close(which) {
    const closed = new Promise((resolve) => which.once('close', resolve));
    which.close();
    await closed;
    opened.delete(which);
}

const fails = (promise, code) => assert.rejects(promise, new RegExp(`^Error: ${code} `));

before(async () => {
    client = await connected();
    assert.equal(await client.create(root, '', constants.ZOO_PERSISTENT), root);
});

after(async () => {
    const branch = async (path) => {
        for (const name of await client.get_children(path, false)) {
            await branch(`${path}/${name}`);
        }
        await client.delete_(path, -1);
    };
    await branch(root);
    opened.forEach((each) => each.close());
});

test('create, read, set and delete', async () => {
    const path = `${root}/a`;
    assert.equal(await client.create(path, 'one', constants.ZOO_PERSISTENT), path);
    const [stat, data] = await client.get(path, false);
    assert.equal(data.toString(), 'one');
    assert.deepEqual([stat.version, stat.cversion, stat.aversion, stat.dataLength, stat.numChildren], [0, 0, 0, 3, 0]);
    assert.equal(stat.czxid, stat.mzxid);
    const changed = await client.set(path, Buffer.from('second'), 0);
    assert.deepEqual([changed.version, changed.dataLength, changed.czxid], [1, 6, stat.czxid]);
    assert.equal((await client.exists(path, false)).mzxid, changed.mzxid);
    await fails(client.set(path, '', 7), constants.ZBADVERSION);
    await fails(client.create(path, '', constants.ZOO_PERSISTENT), constants.ZNODEEXISTS);
    await client.create(`${path}/b`, '', constants.ZOO_PERSISTENT);
    assert.deepEqual(await client.get_children(path, false), ['b']);
    const [names, parent] = await client.get_children2(path, false);
    assert.deepEqual([names, parent.numChildren, parent.cversion], [['b'], 1, 1]);
    await fails(client.delete_(path, -1), constants.ZNOTEMPTY);
    await client.delete_(`${path}/b`, 0);
    await client.delete_(path, 1);
    await fails(client.get(path, false), constants.ZNONODE);
    assert.equal(await client.pathExists(path, false), false);
});

test('znodes of every kind', async () => {
    const one = await client.create(`${root}/s-`, '', constants.ZOO_PERSISTENT_SEQUENTIAL);
    assert.match(one, /\/s-\d{10}$/);
    await client.create(`${root}/c`, '', constants.ZOO_CONTAINER);
    await client.create(`${root}/c/child`, '', constants.ZOO_PERSISTENT);
    await client.create(`${root}/ttl`, 'x', constants.ZOO_PERSISTENT_WITH_TTL, 600000);
    assert.match(await client.create(`${root}/ttl-`, '', constants.ZOO_PERSISTENT_SEQUENTIAL_WITH_TTL, 600000), /\/ttl-\d{10}$/);
    const other = await connected();
    const mine = await other.create(`${root}/e-`, '', constants.ZOO_EPHEMERAL_SEQUENTIAL);
    assert.equal((await other.exists(mine, false)).ephemeralOwner, other.client_id);
    await client.sync(root);
    assert.equal(await client.pathExists(mine, false), true);
    await close(other);
    await client.sync(root);
    assert.equal(await client.pathExists(mine, false), false);
});

test('each kind of watch', async () => {
    const seen = [];
    const watch = (type, state, path) => seen.push(`${type} ${path.slice(root.length)}`);
    await client.create(`${root}/w`, '', constants.ZOO_PERSISTENT);
    await client.w_get(`${root}/w`, watch);
    assert.equal(await client.w_pathExists(`${root}/w/new`, watch), false);
    await client.w_get_children(`${root}/w`, watch);
    await client.set(`${root}/w`, '1', -1);
    await client.set(`${root}/w`, '2', -1);
    await client.create(`${root}/w/new`, '', constants.ZOO_PERSISTENT);
    await client.delete_(`${root}/w/new`, -1);
    await client.w_get_children2(`${root}/w`, watch);
    await client.delete_(`${root}/w`, -1);
    await until('four events', () => seen.length >= 4);
    assert.deepEqual([...seen].sort(), [
        `${constants.ZOO_CREATED_EVENT} /w/new`,
        `${constants.ZOO_DELETED_EVENT} /w`,
        `${constants.ZOO_CHANGED_EVENT} /w`,
        `${constants.ZOO_CHILD_EVENT} /w`,
    ].sort());
});

test('ACLs and who speaks', async () => {
    const path = `${root}/acl`;
    await client.create(path, 'data', constants.ZOO_PERSISTENT);
    const owner = { perms: constants.ZOO_PERM_ALL, scheme: 'digest', auth: digest('user', 'secret') };
    const stranger = await connected();
    await client.set_acl(path, 0, [owner]);
    await stranger.sync(path);
    await fails(client.get(path, false), constants.ZNOAUTH);
    client.add_auth('digest', 'user:secret', () => {});
    assert.equal((await client.get(path, false))[1].toString(), 'data');
    const [acl, stat] = await client.get_acl(path);
    assert.deepEqual([acl, stat.aversion], [[owner], 1]);
    await fails(stranger.get(path, false), constants.ZNOAUTH);
    await fails(stranger.set_acl(path, -1, [constants.ZOO_OPEN_ACL_UNSAFE]), constants.ZNOAUTH);
    await client.delete_(path, -1);
});

test('the configuration', async () => {
    const [, config] = await client.getconfig(false);
    assert.match(config ? config.toString() : '', /^$|version=/, 'a server that stands alone has none');
    await assert.rejects(client.reconfig(null, '9', null, -1), /^Error: -(123|102|8|6) /);
});

test('whole branches', async () => {
    await new Promise((resolve, reject) => {
        client.mkdirp(`${root}/b/c/d`, (error) => (error ? reject(error) : resolve()));
    });
    assert.equal(await client.pathExists(`${root}/b/c/d`, false), true);
});

test('a session, its watches and what it said of itself outlive a lost connection', async () => {
    const cuttable = await wire();
    const moving = await connected(`127.0.0.1:${cuttable.port}`);
    const seen = [];
    moving.add_auth('digest', 'user:secret', () => {});
    await moving.create(`${root}/mine`, 'x', constants.ZOO_EPHEMERAL);
    await moving.set_acl(`${root}/mine`, 0, [{ perms: 31, scheme: 'auth', auth: '' }]);
    await moving.create(`${root}/other`, '', constants.ZOO_PERSISTENT);
    await moving.w_get(`${root}/other`, (type) => seen.push(type));
    const session = moving.client_id;
    const away = new Promise((resolve) => moving.once('connecting', resolve));
    const back = new Promise((resolve) => moving.once('connect', resolve));
    cuttable.cut();
    await away;
    await client.sync(root);
    await client.set(`${root}/other`, 'changed', -1);
    await back;
    assert.equal(moving.client_id, session);
    await until('what happened meanwhile', () => seen.includes(constants.ZOO_CHANGED_EVENT));
    assert.equal((await moving.get(`${root}/mine`, false))[1].toString(), 'x');
    await close(moving);
    cuttable.close();
});

test('a session handed on', async () => {
    const cuttable = await wire();
    const first = await connected(`127.0.0.1:${cuttable.port}`);
    await first.create(`${root}/handed`, '', constants.ZOO_EPHEMERAL);
    cuttable.close();
    const heir = await connected(hosts, { client_id: first.client_id, client_password: first.client_password });
    assert.equal(heir.client_id, first.client_id);
    assert.equal((await heir.exists(`${root}/handed`, false)).ephemeralOwner, heir.client_id);
    await close(heir);
    await client.sync(root);
    assert.equal(await client.pathExists(`${root}/handed`, false), false);
});

test('five hundred requests at once', async () => {
    await client.create(`${root}/many`, '', constants.ZOO_PERSISTENT);
    const names = Array.from({ length: 500 }, (_, index) => `${root}/many/${index}`);
    assert.deepEqual(await Promise.all(names.map((name) => client.create(name, 'x', constants.ZOO_PERSISTENT))), names);
    assert.equal((await client.get_children(`${root}/many`, false)).length, 500);
    await Promise.all(names.map((name) => client.delete_(name, -1)));
});
