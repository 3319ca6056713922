// A proxy between the browser and the server that can hold up an answer midway and move on to another server: what a slow
// or dying server looks like to the page, with the real server's bytes.

import http from 'node:http';

export class Proxy {
  /// `target`: the server's address; may be changed while running.
  static async start(target) {
    const proxy = new Proxy(target);
    await new Promise((ready) => { proxy.server.listen(0, '127.0.0.1', ready); });
    proxy.url = `http://127.0.0.1:${proxy.server.address().port}`;
    return proxy;
  }

  constructor(target) {
    this.target = target;
    this.holdAfter = Infinity;  // bytes of a chat answer that pass before the rest is held back
    this.chatBodies = [];
    this.server = http.createServer((request, response) => this.#forward(request, response));
  }

  #forward(request, response) {
    const { hostname, port } = new URL(this.target);
    const chat = request.url === '/v1/chat/completions';
    const upstream = http.request({ hostname, port, path: request.url, method: request.method, headers: request.headers, agent: false }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      response.flushHeaders();
      let passed = 0;
      answer.on('data', (piece) => {
        const room = chat ? this.holdAfter - passed : Infinity;
        passed += piece.length;
        if (room > 0) response.write(piece.subarray(0, Math.min(room, piece.length)));
        if (chat && passed >= this.holdAfter) this.held?.();
      });
      answer.on('end', () => { if (!(chat && passed > this.holdAfter)) response.end(); });
      answer.on('error', () => response.destroy());
      answer.on('aborted', () => response.destroy());
    });
    upstream.on('error', () => response.destroy());
    response.on('close', () => upstream.destroy());
    if (!chat) {
      request.pipe(upstream);
      return;
    }
    const pieces = [];
    request.on('data', (piece) => pieces.push(piece));
    request.on('end', () => {
      const body = Buffer.concat(pieces);
      this.chatBodies.push(JSON.parse(body.toString()));
      upstream.end(body);
    });
  }

  /// Breaks all open connections, as a dying server would.
  breakOff() {
    this.server.closeAllConnections();
  }

  async stop() {
    this.breakOff();
    await new Promise((done) => { this.server.close(done); });
  }
}
