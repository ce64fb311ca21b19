// What both scripts share: where the servers are, a place in the tree, and a wire that can be cut.
'use strict';

const { createHash } = require('node:crypto');
const net = require('node:net');
const runner = require('node:test');

const hosts = process.env.ZOOKEEPER_HOSTS;
if (!hosts) {
    throw new Error('ZOOKEEPER_HOSTS must say where the servers are, as HOST:PORT,...');
}

/** A name that no other run has. */
exports.place = (name) => `/node-${name}-${process.pid}`;

exports.hosts = hosts;

/** The id under which ZooKeeper knows a user of scheme digest. */
exports.digest = (user, password) => `${user}:${createHash('sha1').update(`${user}:${password}`).digest('base64')}`;

/** A test that does not wait for ever. */
exports.test = (name, body) => runner.test(name, { timeout: 30000 }, body);

/** Waits until the function gives something true, and gives that; an error that names it after so many milliseconds. */
exports.until = async (what, condition, limitMs = 20000) => {
    const ends = Date.now() + limitMs;
    for (;;) {
        const found = condition();
        if (found) {
            return found;
        }
        if (Date.now() > ends) {
            throw new Error(`waited ${limitMs} ms in vain for ${what}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 10));
    }
};

/** A proxy before the first server, whose connections can be cut: {port, cut(), close()}. */
exports.wire = async () => {
    const [host, port] = hosts.split(',')[0].split(':');
    const open = new Set();
    const proxy = net.createServer((near) => {
        const far = net.connect(Number(port), host);
        for (const [one, other] of [[near, far], [far, near]]) {
            open.add(one);
            one.pipe(other);
            one.on('close', () => { open.delete(one); other.destroy(); });
            one.on('error', () => other.destroy());
        }
    });
    await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const cut = () => open.forEach((socket) => socket.destroy());
    return { port: proxy.address().port, cut, close: () => { cut(); proxy.close(); } };
};
