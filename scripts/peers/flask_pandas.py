"""The usual container: flask behind gunicorn behind nginx, the body read by pandas, the answer written by pandas.

MODEL=model.txt gunicorn -k sync -w 2 flask_pandas:app"""

import io
import os

import flask
import lightgbm
import pandas

booster = lightgbm.Booster(model_file=os.environ["MODEL"])
app = flask.Flask(__name__)


@app.get("/ping")
def ping():
    return flask.Response("\n", mimetype="application/json")


@app.post("/invocations")
def invocations():
    rows = pandas.read_csv(io.BytesIO(flask.request.get_data()), header=None)
    answer = pandas.DataFrame({"class": booster.predict(rows.to_numpy(), num_threads=1).argmax(axis=1)})
    return flask.Response(answer.to_csv(header=False, index=False), mimetype="text/csv")
