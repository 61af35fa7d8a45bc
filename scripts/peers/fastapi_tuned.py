"""The fastest FastAPI service that stays Python: raw body, numbers read by numpy, no thread pool, one LightGBM thread.

MODEL=model.txt uvicorn fastapi_tuned:app --workers 2"""

import os

import fastapi
import lightgbm
import numpy

booster = lightgbm.Booster(model_file=os.environ["MODEL"])
n_features = booster.num_feature()
app = fastapi.FastAPI()


@app.get("/ping")
async def ping():
    return {}


@app.post("/invocations")
async def invocations(request: fastapi.Request):
    text = (await request.body()).decode().replace("\n", ",")
    rows = numpy.fromstring(text, sep=",").reshape(-1, n_features)
    classes = booster.predict(rows, num_threads=1).argmax(axis=1)
    return fastapi.Response("".join(f"{label}\n" for label in classes), media_type="text/csv")
