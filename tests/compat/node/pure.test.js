// node-zookeeper-client, written in JavaScript: all that it offers, judged by what it and ZooKeeper document.
'use strict';

const assert = require('node:assert/strict');
const { promisify } = require('node:util');
const { after, before } = require('node:test');
const zookeeper = require('node-zookeeper-client');
const { digest, hosts, place, test, until, wire } = require('./servers.js');

const { ACL, CreateMode, Event, Exception, Id, Permission, State } = zookeeper;
const root = place('pure');
const opened = [];
let client;

/** A connected client, with a function of promises for each of callbacks. */
async function connected(where = hosts, options = {}) {
    const made = zookeeper.createClient(where, { sessionTimeout: 10000, retries: 2, ...options });
    const ready = new Promise((resolve) => made.once('connected', resolve));
    made.connect();
    opened.push(made);
    await ready;
    for (const name of ['create', 'remove', 'removeRecursive', 'exists', 'getChildren', 'getData', 'setData', 'getACL',
        'setACL', 'mkdirp', 'listSubTreeBFS']) {
        made[`${name}Soon`] = promisify(made[name].bind(made));
    }
    // Two results, where promisify would give the first alone.
    for (const name of ['getData', 'getChildren', 'getACL']) {
        made[`${name}Soon`] = (...given) => new Promise((resolve, reject) => {
            made[name](...given, (error, ...results) => (error ? reject(error) : resolve(results)));
        });
    }
    return made;
}

const fails = (promise, code) => assert.rejects(promise, (error) => {
    assert.equal(error.getCode && error.getCode(), code, String(error));
    return true;
});

const number = (buffer) => Number(buffer.readBigInt64BE());

before(async () => {
    client = await connected();
    await client.mkdirpSoon(root);
});

after(async () => {
    const branch = async (path) => {
        for (const name of (await client.getChildrenSoon(path))[0]) {
            await branch(`${path}/${name}`);
        }
        await client.removeSoon(path);
    };
    await branch(root);
    opened.forEach((each) => each.close());
});

test('create, read, set and remove', async () => {
    const path = `${root}/a`;
    assert.equal(await client.createSoon(path, Buffer.from('one'), ACL.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT), path);
    let [data, stat] = await client.getDataSoon(path);
    assert.equal(data.toString(), 'one');
    assert.deepEqual([stat.version, stat.cversion, stat.aversion, stat.dataLength, stat.numChildren], [0, 0, 0, 3, 0]);
    assert.equal(number(stat.ephemeralOwner), 0);
    assert.deepEqual(stat.czxid, stat.mzxid);
    stat = await client.setDataSoon(path, Buffer.from('second'), 0);
    assert.deepEqual([stat.version, stat.dataLength], [1, 6]);
    assert.deepEqual(await client.existsSoon(path), stat);
    await fails(client.setDataSoon(path, Buffer.from(''), 7), Exception.BAD_VERSION);
    await fails(client.createSoon(path), Exception.NODE_EXISTS);
    await client.createSoon(`${path}/b`);
    await fails(client.removeSoon(path), Exception.NOT_EMPTY);
    await client.removeSoon(`${path}/b`);
    await client.removeSoon(path, 1);
    await fails(client.getDataSoon(path), Exception.NO_NODE);
    assert.equal(await client.existsSoon(path), null);
});

test('data of every kind', async () => {
    await client.createSoon(`${root}/none`);
    assert.equal((await client.getDataSoon(`${root}/none`))[0], undefined);
    const large = Buffer.alloc(1000000, 'x');
    await client.createSoon(`${root}/ключ-鍵`, large);
    assert.ok((await client.getDataSoon(`${root}/ключ-鍵`))[0].equals(large));
});

test('sequential and ephemeral znodes', async () => {
    await client.createSoon(`${root}/s`);
    assert.equal(await client.createSoon(`${root}/s/n-`, CreateMode.PERSISTENT_SEQUENTIAL), `${root}/s/n-0000000000`);
    const other = await connected();
    const mine = await other.createSoon(`${root}/s/e-`, CreateMode.EPHEMERAL_SEQUENTIAL);
    assert.equal(mine, `${root}/s/e-0000000001`);
    const stat = await other.existsSoon(mine);
    assert.deepEqual(stat.ephemeralOwner, other.getSessionId());
    await fails(other.createSoon(`${mine}/child`), Exception.NO_CHILDREN_FOR_EPHEMERALS);
    const events = [];
    // The other server may not have it yet: then the watch tells of its creation first.
    const watch = (event) => { events.push(event.getName()); client.exists(mine, watch, () => {}); };
    await client.existsSoon(mine, watch);
    other.close();
    await until('the ephemeral znode to go', () => events.includes('NODE_DELETED'));
});

test('each kind of watch', async () => {
    const seen = [];
    const watch = (event) => seen.push(`${event.getName()} ${event.getPath().slice(root.length)}`);
    await client.createSoon(`${root}/w`);
    await client.getDataSoon(`${root}/w`, watch);
    await client.existsSoon(`${root}/w/new`, watch);
    await client.getChildrenSoon(`${root}/w`, watch);
    await client.setDataSoon(`${root}/w`, Buffer.from('1'));
    await client.setDataSoon(`${root}/w`, Buffer.from('2'));
    await client.createSoon(`${root}/w/new`);
    await client.removeSoon(`${root}/w/new`);
    await client.getDataSoon(`${root}/w`, watch);
    await client.removeSoon(`${root}/w`);
    const expected = ['NODE_CHILDREN_CHANGED /w', 'NODE_CREATED /w/new', 'NODE_DATA_CHANGED /w', 'NODE_DELETED /w'];
    await until('four events', () => seen.length >= expected.length);
    assert.deepEqual([...seen].sort(), expected);
    assert.equal(Event.NODE_CREATED, 1);
});

test('a transaction does all or nothing', async () => {
    const commit = (transaction) => new Promise((resolve) => transaction.commit((error, results) => resolve([error, results])));
    let [error, results] = await commit(client.transaction()
        .create(`${root}/t`, Buffer.from('t'))
        .create(`${root}/t/n-`, CreateMode.PERSISTENT_SEQUENTIAL)
        .check(`${root}/t`, 0)
        .setData(`${root}/t`, Buffer.from('new'), 0)
        .remove(`${root}/t/n-0000000000`));
    assert.equal(error, null);
    assert.deepEqual(results.map((each) => each.path).slice(0, 2), [`${root}/t`, `${root}/t/n-0000000000`]);
    assert.equal(results[3].stat.version, 1);
    [error, results] = await commit(client.transaction().create(`${root}/no`).check(`${root}/t`, 9).remove(`${root}/t`));
    assert.equal(error.getCode(), Exception.BAD_VERSION);
    assert.deepEqual(results.map((each) => each.err), [0, Exception.BAD_VERSION, Exception.RUNTIME_INCONSISTENCY]);
    assert.equal(await client.existsSoon(`${root}/no`), null);
});

test('ACLs and who speaks', async () => {
    const owner = await connected();
    owner.addAuthInfo('digest', Buffer.from('user:secret'));
    await owner.createSoon(`${root}/acl`, Buffer.from('data'), ACL.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
    const [[acl], stat] = await owner.getACLSoon(`${root}/acl`);
    assert.deepEqual([acl.permission, acl.id.scheme, acl.id.id], [Permission.ALL, 'digest', digest('user', 'secret')]);
    assert.equal(stat.aversion, 0);
    await until('the znode at the other server', () => {
        client.getACL(`${root}/acl`, (error) => { client.sawIt = error && error.getCode() === Exception.NO_AUTH; });
        return client.sawIt;
    });
    await fails(client.getDataSoon(`${root}/acl`), Exception.NO_AUTH);
    await fails(client.setDataSoon(`${root}/acl`, Buffer.from('')), Exception.NO_AUTH);
    const reader = [new ACL(Permission.READ, Id.ANYONE_ID_UNSAFE), new ACL(Permission.ALL, new Id('auth', ''))];
    assert.equal((await owner.setACLSoon(`${root}/acl`, reader, 0)).aversion, 1);
    await until('reading to be allowed', () => {
        client.getData(`${root}/acl`, (error, data) => { client.mayRead = !error && data.toString() === 'data'; });
        return client.mayRead;
    });
    await fails(client.setDataSoon(`${root}/acl`, Buffer.from('')), Exception.NO_AUTH);
});

test('whole branches', async () => {
    assert.equal(await client.mkdirpSoon(`${root}/b/c/d`), `${root}/b/c/d`);
    await client.createSoon(`${root}/b/e`);
    const paths = await client.listSubTreeBFSSoon(`${root}/b`);
    assert.deepEqual(paths.sort(), ['/b', '/b/c', '/b/e'].map((path) => root + path), 'it looks two levels deep');
    const [names, stat] = await client.getChildrenSoon(`${root}/b`);
    assert.deepEqual(names.sort(), ['c', 'e']);
    assert.deepEqual([stat.numChildren, stat.cversion], [2, 2]);
    await client.removeSoon(`${root}/b/c/d`);
    await client.removeRecursiveSoon(`${root}/b`, -1);
    assert.equal(await client.existsSoon(`${root}/b`), null);
});

test('a chroot', async () => {
    const inside = await connected(`${hosts}${root}`);
    await inside.createSoon('/inside', Buffer.from('x'));
    await until('the znode at the other server', () => {
        client.exists(`${root}/inside`, (error, stat) => { client.sees = Boolean(stat); });
        return client.sees;
    });
});

test('a session, its watches and what it said of itself outlive a lost connection', async () => {
    const cuttable = await wire();
    const moving = await connected(`127.0.0.1:${cuttable.port}`, { spinDelay: 100 });
    const seen = [];
    moving.addAuthInfo('digest', Buffer.from('user:secret'));
    await moving.createSoon(`${root}/mine`, Buffer.from('x'), ACL.CREATOR_ALL_ACL, CreateMode.EPHEMERAL);
    await moving.createSoon(`${root}/other`);
    await moving.getDataSoon(`${root}/other`, (event) => seen.push(event.getName()));
    const session = Buffer.from(moving.getSessionId());
    const away = new Promise((resolve) => moving.once('disconnected', resolve));
    const back = new Promise((resolve) => moving.once('connected', resolve));
    cuttable.cut();
    await away;
    await client.setDataSoon(`${root}/other`, Buffer.from('changed'));
    await back;
    assert.deepEqual(moving.getSessionId(), session);
    assert.equal(moving.getState(), State.SYNC_CONNECTED);
    await until('what happened meanwhile', () => seen.includes('NODE_DATA_CHANGED'));
    assert.equal((await moving.getDataSoon(`${root}/mine`))[0].toString(), 'x');
    const closed = new Promise((resolve) => moving.once('disconnected', resolve));
    moving.close();
    await closed;
    cuttable.close();
});

test('a session that is not there expires', async () => {
    const old = zookeeper.createClient(hosts, { sessionTimeout: 10000 });
    opened.push(old);
    old.connectionManager.sessionId = Buffer.from('0123456789abcdef', 'hex');
    old.connectionManager.sessionPassword = Buffer.alloc(16, 1);
    const expired = new Promise((resolve) => old.once('expired', resolve));
    old.connect();
    await expired;
});

test('five hundred requests at once', async () => {
    await client.createSoon(`${root}/many`);
    const names = Array.from({ length: 500 }, (_, index) => `${root}/many/${index}`);
    assert.deepEqual(await Promise.all(names.map((name) => client.createSoon(name))), names);
    assert.equal((await client.getChildrenSoon(`${root}/many`))[0].length, 500);
    await Promise.all(names.map((name) => client.removeSoon(name)));
});
